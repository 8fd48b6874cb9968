// RLIMIT_NPROC: no new thread for this process. For child processes: what is given up for it does not come back.
using System.Runtime.InteropServices;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class ThreadLimit
{
    private const int ResourceProcesses = 6;

    /// <summary>Nobody else's: the limit counts all threads of a user.</summary>
    private const uint User = 54321;

    /// <summary>From now on every start of a thread fails, as in a full cgroup, until <see cref="Lift"/>.</summary>
    public static void Refuse()
    {
        // The limit does not hold for root.
        if (GetUser() == 0 && SetUser(User, User, User) != 0)
        {
            throw new InvalidOperationException($"setresuid: errno {Marshal.GetLastPInvokeError()}");
        }

        Set(1);
    }

    public static void Lift() => Set(ulong.MaxValue);

    private static void Set(ulong soft)
    {
        Limits limits = default;
        if (GetLimits(ResourceProcesses, ref limits) != 0)
        {
            throw new InvalidOperationException($"getrlimit: errno {Marshal.GetLastPInvokeError()}");
        }

        limits.Soft = Math.Min(soft, limits.Hard);
        if (SetLimits(ResourceProcesses, ref limits) != 0)
        {
            throw new InvalidOperationException($"setrlimit: errno {Marshal.GetLastPInvokeError()}");
        }
    }

    [DllImport("libc", EntryPoint = "getuid")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern uint GetUser();

    [DllImport("libc", EntryPoint = "setresuid", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SetUser(uint real, uint effective, uint saved);

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
