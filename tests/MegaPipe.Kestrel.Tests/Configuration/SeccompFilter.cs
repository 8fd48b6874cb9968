// A seccomp filter that refuses a system call of io_uring, as a container's profile does. For child processes: it stays
// for the process's life.
using System.Runtime.InteropServices;

namespace MegaPipe.Kestrel.Tests.Configuration;

internal static class SeccompFilter
{
    public const int IoUringSetup = 425; // the numbers are the same on every architecture
    public const int IoUringEnter = 426;
    public const int IoUringRegister = 427;
    public const int Eperm = 1;
    public const int Enosys = 38;

    private const int SetNoNewPrivileges = 38;
    private const nint SetModeFilter = 1;
    private const nint SynchronizeThreads = 1;
    private const uint Allow = 0x7fff_0000;
    private const uint RefuseWithErrno = 0x0005_0000;

    /// <summary>Load a word of struct seccomp_data; jump when equal; return.</summary>
    private const ushort Load = 0x20;
    private const ushort JumpIfEqual = 0x15;
    private const ushort Return = 0x06;

    private static int SeccompNumber => RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => 317,
        Architecture.Arm64 => 277,
        var other => throw new PlatformNotSupportedException($"seccomp's number on {other} is not known here."),
    };

    /// <summary>From now on the system call fails with this errno, on every thread of the process.</summary>
    public static void Refuse(int call, int errno) => Install(call, errno, SynchronizeThreads);

    /// <summary>
    /// Runs an action on a thread on which, and in every process that it starts, io_uring is refused.
    /// </summary>
    public static void RunRefused(int errno, Action action)
    {
        Exception? failure = null;
        Thread thread = new(() =>
        {
            try
            {
                Install(IoUringSetup, errno, flags: 0);
                action();
            }
            catch (Exception error)
            {
                failure = error;
            }
        });
        thread.Start();
        thread.Join();
        if (failure is not null)
        {
            throw new InvalidOperationException("The action failed under the filter.", failure);
        }
    }

    private static void Install(int call, int errno, nint flags)
    {
        Instruction[] program =
        [
            new(Load, 0, 0, 0),
            new(JumpIfEqual, 0, 1, (uint)call),
            new(Return, 0, 0, RefuseWithErrno | (uint)errno),
            new(Return, 0, 0, Allow),
        ];
        GCHandle pinned = GCHandle.Alloc(program, GCHandleType.Pinned);
        try
        {
            Program filter = new() { Length = (ushort)program.Length, Instructions = pinned.AddrOfPinnedObject() };
            if (Prctl(SetNoNewPrivileges, 1, 0, 0, 0) != 0 ||
                Syscall(SeccompNumber, SetModeFilter, flags, ref filter) != 0)
            {
                throw new InvalidOperationException($"seccomp: errno {Marshal.GetLastPInvokeError()}");
            }
        }
        finally
        {
            pinned.Free();
        }
    }

    [DllImport("libc", EntryPoint = "prctl", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Prctl(int option, nint first, nint second, nint third, nint fourth);

    [DllImport("libc", EntryPoint = "syscall", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern nint Syscall(nint number, nint operation, nint flags, ref Program program);

    [StructLayout(LayoutKind.Sequential)]
    private readonly struct Instruction(ushort code, byte whenTrue, byte whenFalse, uint operand)
    {
        private readonly ushort _code = code;
        private readonly byte _whenTrue = whenTrue;
        private readonly byte _whenFalse = whenFalse;
        private readonly uint _operand = operand;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Program
    {
        public ushort Length;
        public nint Instructions;
    }
}
