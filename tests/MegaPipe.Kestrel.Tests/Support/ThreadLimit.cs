// RLIMIT_NPROC: no new thread for this process. For child processes: what is given up for it does not come back.
using System.Runtime.InteropServices;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class ThreadLimit
{
    /// <summary>Nobody else's: the limit counts all threads of a user.</summary>
    private const uint User = 54321;

    /// <summary>From now on every start of a thread fails, as in a full cgroup, until <see cref="Lift"/>.</summary>
    public static void Refuse()
    {
        BeOrdinary(); // the limit does not hold for root
        ResourceLimit.SetSoft(ResourceLimit.Processes, 1);
    }

    /// <summary>From now on an ordinary user, whom limits hold.</summary>
    public static void BeOrdinary()
    {
        if (GetUser() == 0 && SetUser(User, User, User) != 0)
        {
            throw new InvalidOperationException($"setresuid: errno {Marshal.GetLastPInvokeError()}");
        }
    }

    public static void Lift() => ResourceLimit.SetSoft(ResourceLimit.Processes, ulong.MaxValue);

    [DllImport("libc", EntryPoint = "getuid")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern uint GetUser();

    [DllImport("libc", EntryPoint = "setresuid", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int SetUser(uint real, uint effective, uint saved);
}
