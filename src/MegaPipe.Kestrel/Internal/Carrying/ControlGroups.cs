// Where the control groups of this process are: what limits it is said there.
namespace MegaPipe.Kestrel.Internal.Carrying;

internal static class ControlGroups
{
    public const string Root = "/sys/fs/cgroup";
    public const string Membership = "/proc/self/cgroup";

    /// <summary>
    /// The folders that <paramref name="controller"/>'s groups may have, from the process's own up to the root of what
    /// it can see; they need not exist. A process in a cgroup namespace of its own sees its group as the root, one
    /// outside of it the whole path. Empty where nothing can be read.
    /// </summary>
    public static List<string> Folders(string root, string membership, string controller)
    {
        List<string> folders = [];
        try
        {
            foreach (string line in File.ReadLines(membership))
            {
                // Version 2: "0::/path". Version 1: "4:cpu,cpuacct:/path".
                string[] parts = line.Split(':', 3);
                if (parts.Length < 3 || (parts[1].Length > 0 && !parts[1].Split(',').Contains(controller)))
                {
                    continue;
                }

                string top = parts[1].Length == 0 ? root : Path.Combine(root, controller);
                for (string? group = parts[2].Trim('/'); group is not null; group = Path.GetDirectoryName(group))
                {
                    folders.Add(Path.Combine(top, group));
                }
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // Not to be seen from here.
        }

        return folders;
    }

    /// <summary>A file's text; null where it cannot be read.</summary>
    public static string? Read(string folder, string file)
    {
        try
        {
            string place = Path.Combine(folder, file);
            return File.Exists(place) ? File.ReadAllText(place).Trim() : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
