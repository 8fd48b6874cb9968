// Classic BPF programs for sockets: which packets a socket gets, which member of a group a connection goes to.
using System.Runtime.InteropServices;
using Tmds.Linux;

namespace MegaPipe.Native;

/// <summary>One instruction: struct sock_filter.</summary>
/// <param name="Code">Operation.</param>
/// <param name="IfTrue">Instructions to skip when a comparison holds.</param>
/// <param name="IfFalse">Instructions to skip when it does not.</param>
/// <param name="Value">Operand.</param>
[StructLayout(LayoutKind.Sequential)]
internal readonly record struct BpfInstruction(ushort Code, byte IfTrue, byte IfFalse, uint Value);

/// <summary>Attaching needs no privilege.</summary>
internal static unsafe class SocketProgram
{
    /// <summary>BPF_MAXINSNS.</summary>
    public const int MaxInstructions = 4_096;

    private const int SolSocket = 1;
    private const int AttachFilter = 26;      // SO_ATTACH_FILTER
    private const int AttachGroup = 51;       // SO_ATTACH_REUSEPORT_CBPF
    private const int DetachGroup = 68;       // SO_DETACH_REUSEPORT_BPF

    /// <summary>Has the program say how many bytes of a packet the socket gets; none drops it. 0 or -errno.</summary>
    public static int FilterPackets(int fd, ReadOnlySpan<BpfInstruction> program) => Attach(fd, AttachFilter, program);

    /// <summary>
    /// Has the program say which member of the fd's SO_REUSEPORT group gets a connection, by index; outside of the
    /// group the kernel's hash decides. Replaces the program that the group had, through any member. 0 or -errno.
    /// </summary>
    public static int SteerGroup(int fd, ReadOnlySpan<BpfInstruction> program) => Attach(fd, AttachGroup, program);

    /// <summary>The kernel's hash decides again. 0 or -errno (-ENOENT: there is no program).</summary>
    public static int ReleaseGroup(int fd)
    {
        int nothing = 0;
        return LibC.setsockopt(fd, SolSocket, DetachGroup, &nothing, sizeof(int)) == 0 ? 0 : -LibC.errno;
    }

    private static int Attach(int fd, int option, ReadOnlySpan<BpfInstruction> program)
    {
        if (program.Length is 0 or > MaxInstructions)
        {
            return ChannelError.InvalidArgument;
        }

        fixed (BpfInstruction* first = program)
        {
            Program attached = new() { Count = (ushort)program.Length, First = first };
            return LibC.setsockopt(fd, SolSocket, option, &attached, (uint)sizeof(Program)) == 0 ? 0 : -LibC.errno;
        }
    }

    /// <summary>struct sock_fprog.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct Program
    {
        public ushort Count;
        public BpfInstruction* First;
    }
}
