// What limits the threads of this process, for the message that none could be started.
using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>Reads /proc and the cgroup. For messages only.</summary>
internal static class ThreadLimits
{
    /// <summary>Such as "26 threads; ulimit -u 64, pids.max 30 with 30 used, kernel.threads-max 127000".</summary>
    public static string Describe()
    {
        string? threads = Value("/proc/self/status", "Threads:", 1);
        string? processes = Value("/proc/self/limits", "Max processes", 2);
        string? max = Read("/proc/sys/kernel/threads-max");
        List<string> limits = [];
        if (processes is not null)
        {
            limits.Add($"ulimit -u {processes}");
        }

        if (Cgroup() is { } cgroup && Read($"{cgroup}/pids.max") is { } pids)
        {
            limits.Add($"pids.max {pids} with {Read($"{cgroup}/pids.current") ?? "?"} used");
        }

        if (max is not null)
        {
            limits.Add($"kernel.threads-max {max}");
        }

        return string.Create(CultureInfo.InvariantCulture, $"{threads ?? "?"} threads; {string.Join(", ", limits)}");
    }

    /// <summary>The folder of the nearest group with a limit; null without one.</summary>
    private static string? Cgroup() =>
        ThreadRoom.Limiting(ControlGroups.Root, ControlGroups.Membership) is [var nearest, ..] groups
            ? Array.Find(groups, folder => Read($"{folder}/pids.max") != "max") ?? nearest : null;

    private static string? Value(string file, string key, int field) =>
        Read(file)?.Split('\n').FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal))?
            .Split([' ', '\t'], StringSplitOptions.RemoveEmptyEntries).ElementAtOrDefault(field);

    [SuppressMessage("Design", "CA1031", Justification = "A message without this part is better than none.")]
    private static string? Read(string file)
    {
        try
        {
            return File.ReadAllText(file).Trim();
        }
        catch (Exception)
        {
            return null;
        }
    }
}
