// Whether a cgroup limits the CPU time of the process: what is spun away there is missing later.
namespace MegaPipe.Kestrel.Internal.Carrying;

internal static class CpuQuota
{
    private const string Root = "/sys/fs/cgroup";

    public static bool Exists() => Exists(Root, "/proc/self/cgroup");

    /// <summary>
    /// Any group from the process's own up to the root of what it can see. What cannot be read limits nothing.
    /// </summary>
    public static bool Exists(string root, string membership)
    {
        try
        {
            foreach (string line in File.ReadLines(membership))
            {
                // Version 2: "0::/path". Version 1: "4:cpu,cpuacct:/path".
                string[] parts = line.Split(':', 3);
                if (parts.Length < 3)
                {
                    continue;
                }

                bool limited = parts[1].Length == 0
                    ? AnyUpwards(root, parts[2], "cpu.max", text => !text.StartsWith("max", StringComparison.Ordinal))
                    : parts[1].Split(',').Contains("cpu") && AnyUpwards(
                        Path.Combine(root, "cpu"), parts[2], "cpu.cfs_quota_us",
                        text => !text.StartsWith('-') && text.Trim() != "0");
                if (limited)
                {
                    return true;
                }
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Not to be seen from here.
        }

        return false;
    }

    private static bool AnyUpwards(string root, string path, string file, Func<string, bool> limits)
    {
        // A process in a cgroup namespace of its own sees its group as the root; one outside of it the whole path.
        for (string? group = path.Trim('/'); group is not null; group = Path.GetDirectoryName(group))
        {
            string place = Path.Combine(root, group, file);
            if (File.Exists(place) && limits(File.ReadAllText(place)))
            {
                return true;
            }
        }

        return false;
    }
}
