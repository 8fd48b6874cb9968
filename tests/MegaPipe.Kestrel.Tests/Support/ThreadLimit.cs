// RLIMIT_NPROC: no new thread for this process. For child processes: what is given up for it does not come back.
using System.Runtime.InteropServices;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class ThreadLimit
{
    private const int FirstUser = 40_000;
    private const int Users = 8192;

    /// <summary>Nobody else's, not even another child's: the limit counts all threads of a user.</summary>
    private static readonly uint s_user = (uint)(FirstUser + (Environment.ProcessId % Users));

    /// <summary>From now on every start of a thread fails, as in a full cgroup, until <see cref="Lift"/>.</summary>
    public static void Refuse()
    {
        BeOrdinary(); // the limit does not hold for root
        ResourceLimit.SetSoft(ResourceLimit.Processes, 1);
    }

    /// <summary>From now on the process may have so many threads more. For root, who has a user to spare.</summary>
    public static void Leave(int threads)
    {
        BeOrdinary();
        ResourceLimit.SetSoft(
            ResourceLimit.Processes, (ulong)(Directory.GetDirectories("/proc/self/task").Length + threads));
    }

    /// <summary>From now on an ordinary user, whom limits hold.</summary>
    public static void BeOrdinary()
    {
        if (GetUser() == 0 && SetUser(s_user, s_user, s_user) != 0)
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
