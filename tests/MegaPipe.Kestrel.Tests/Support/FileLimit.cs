// RLIMIT_NOFILE: reading it, and lowering it in a child process.
using System.Globalization;
using System.Runtime.InteropServices;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class FileLimit
{
    private const int ResourceNoFile = 7;

    public static long Soft => long.Parse(
        File.ReadAllLines("/proc/self/limits")
            .Single(line => line.StartsWith("Max open files", StringComparison.Ordinal))
            .Split(' ', StringSplitOptions.RemoveEmptyEntries)[3],
        CultureInfo.InvariantCulture);

    public static void SetSoft(long value)
    {
        Limits limits = default;
        if (GetLimits(ResourceNoFile, ref limits) != 0)
        {
            throw new InvalidOperationException($"getrlimit: errno {Marshal.GetLastPInvokeError()}");
        }

        limits.Soft = (ulong)value;
        if (SetLimits(ResourceNoFile, ref limits) != 0)
        {
            throw new InvalidOperationException($"setrlimit: errno {Marshal.GetLastPInvokeError()}");
        }
    }

    [DllImport("libc", EntryPoint = "getrlimit", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int GetLimits(int resource, ref Limits limits);

    [DllImport("libc", EntryPoint = "setrlimit", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SetLimits(int resource, ref Limits limits);

    private struct Limits
    {
        public ulong Soft;
        public ulong Hard;
    }
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
