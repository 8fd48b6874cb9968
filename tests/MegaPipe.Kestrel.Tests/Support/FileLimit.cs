// RLIMIT_NOFILE: reading it, and lowering it in a child process.
using System.Globalization;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class FileLimit
{
    public static long Soft => long.Parse(
        File.ReadAllLines("/proc/self/limits")
            .Single(line => line.StartsWith("Max open files", StringComparison.Ordinal))
            .Split(' ', StringSplitOptions.RemoveEmptyEntries)[3],
        CultureInfo.InvariantCulture);

    public static void SetSoft(long value) => ResourceLimit.SetSoft(ResourceLimit.Files, (ulong)value);
}

/// <summary>A fact that needs fds; where the process may not have them it is skipped, with the numbers.</summary>
internal sealed class FactWithFdsAttribute : FactAttribute
{
    private const int Reserve = 500;

    public FactWithFdsAttribute(int fds)
    {
        if (FileLimit.Soft < fds + Reserve)
        {
            Skip = $"needs {fds + Reserve} fds in one process; the limit here is {FileLimit.Soft} (ulimit -n)";
        }
    }
}
