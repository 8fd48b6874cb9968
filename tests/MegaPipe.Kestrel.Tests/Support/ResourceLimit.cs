// getrlimit and setrlimit: lowering what a child process may have.
using System.Runtime.InteropServices;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class ResourceLimit
{
    public const int Processes = 6;
    public const int Files = 7;
    public const int LockedMemory = 8;

    /// <summary>The soft limit, at most the hard one.</summary>
    public static void SetSoft(int resource, ulong value)
    {
        Limits limits = default;
        if (GetLimits(resource, ref limits) != 0)
        {
            throw new InvalidOperationException($"getrlimit: errno {Marshal.GetLastPInvokeError()}");
        }

        limits.Soft = Math.Min(value, limits.Hard);
        if (SetLimits(resource, ref limits) != 0)
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
