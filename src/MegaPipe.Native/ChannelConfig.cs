// The managed mirror of struct mp_config: what a channel is made of. Zero means the library's default.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MegaPipe.Native;

/// <summary>Modes of a channel.</summary>
[Flags]
internal enum ChannelConfigFlags : uint
{
    None = 0,

    /// <summary>One thread for the channel's life, which lets the kernel defer its work.</summary>
    SingleThread = 1u << 0,

    /// <summary>Act as if this kernel had no fixed-fd install (tests; native/src/testing.h).</summary>
    NoFdInstall = 1u << 1,

    /// <summary>Wake through an eventfd even where the kernel can post a completion (tests; likewise).</summary>
    WakeEventFd = 1u << 2,

    /// <summary>No receive buffers: plain reads only.</summary>
    NoLease = 1u << 3,

    /// <summary>Sockets only: the kernel refuses the channel to read and write files.</summary>
    Sockets = 1u << 4,

    /// <summary>The kernel refuses the channel nothing, not even what the library never asks for.</summary>
    Unrestricted = 1u << 5,

    /// <summary>Writes may do without a copy; otherwise the kernel refuses the channel such sends.</summary>
    ZeroCopy = 1u << 6,
}

/// <summary>What a channel is made of.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ChannelConfig
{
    /// <summary>Bytes of this struct, for the library's version check.</summary>
    public uint Size;

    /// <summary>Modes.</summary>
    public ChannelConfigFlags Flags;

    /// <summary>Requests that the queue holds before it is flushed by itself.</summary>
    public uint QueueEntries;

    /// <summary>Listeners, sockets and fds at a time.</summary>
    public uint MaxHandles;

    /// <summary>Receive buffers, a power of two.</summary>
    public uint BufferCount;

    /// <summary>Bytes of each receive buffer.</summary>
    public uint BufferBytes;

    /// <summary>Requests that flush by themselves; 1 turns batching off.</summary>
    public uint BatchThreshold;

    private uint _cpuPlusOne;

    /// <summary>Lightweight sockets at a time.</summary>
    public uint MaxLwSockets;

    /// <summary>Microseconds for which a wait polls the network cards before it sleeps.</summary>
    public uint BusyPollUs;

    /// <summary>The CPU that the channel stands for, or -1, which is the default.</summary>
    public int Cpu
    {
        readonly get => (int)_cpuPlusOne - 1;
        set => _cpuPlusOne = (uint)(value + 1);
    }

    public ChannelConfig()
    {
        Size = (uint)Unsafe.SizeOf<ChannelConfig>();
    }
}
