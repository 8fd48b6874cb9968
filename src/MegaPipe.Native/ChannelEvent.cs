// The managed mirror of struct mp_event. Layout and values are compared with C's by LayoutTests.
using System.Runtime.InteropServices;

namespace MegaPipe.Native;

/// <summary>What an event belongs to; the names are the same in every layer.</summary>
internal enum Stage : uint
{
    Accept = 1,
    Read = 2,
    Write = 3,
    Close = 4,
}

/// <summary>What else is to be known about an event.</summary>
[Flags]
internal enum EventFlags : uint
{
    None = 0,

    /// <summary>More events of the same request will follow.</summary>
    More = 1u << 0,

    /// <summary>
    /// Read: the bytes lie in a receive buffer that must be given back with <see cref="Channel.Release"/>.
    /// </summary>
    Leased = 1u << 1,

    /// <summary>Accept: the end of a <see cref="Channel.Connect"/>.</summary>
    Connected = 1u << 2,

    /// <summary>Accept: the connection came from another channel.</summary>
    Transferred = 1u << 3,

    /// <summary>Accept: the new socket has no file descriptor.</summary>
    LwSocket = 1u << 4,

    /// <summary>Close: a <see cref="Channel.Disconnect"/> is done and the handle lives on.</summary>
    Disconnected = 1u << 5,

    /// <summary>Close: the handle is dead, nothing of it is in flight, no event of it will follow.</summary>
    Retired = 1u << 6,

    /// <summary>
    /// Close: the connection was given to another channel, or with <see cref="Retired"/> clear, could not be.
    /// </summary>
    Given = 1u << 7,

    /// <summary>
    /// Read: the peer has ended or reset a connection whose leased read is paused. Result 0, or a reset.
    /// </summary>
    HangUp = 1u << 8,

    /// <summary>
    /// Read: the socket held more when these bytes were taken. Never set where the kernel does not say so.
    /// </summary>
    Rest = 1u << 9,

    /// <summary>Write: the memory stays the kernel's until an event with <see cref="Released"/>.</summary>
    Held = 1u << 10,

    /// <summary>Write: such memory is given back, by the number in the event's data. Belongs to no handle.</summary>
    Released = 1u << 11,

    /// <summary>Write: a write that was not to be copied has been, all the same.</summary>
    Copied = 1u << 12,
}

/// <summary>One completion, as <see cref="Channel.Dispatch"/> returns it.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct ChannelEvent
{
    /// <summary>The cookie of the handle; of the listener for an accept.</summary>
    public readonly ulong Cookie;

    /// <summary>
    /// Accept: the new connection, 0 when <see cref="Result"/> is negative. Otherwise the request's handle.
    /// </summary>
    public readonly long Handle;

    /// <summary>
    /// Address of the leased bytes; where <see cref="IsReleased"/>, the number of the memory; otherwise 0.
    /// </summary>
    public readonly nint Data;

    /// <summary>Bytes moved, 0 at the end of a stream, or a negative errno (see <see cref="ChannelError"/>).</summary>
    public readonly int Result;

    /// <summary>What the event belongs to.</summary>
    public readonly Stage Stage;

    /// <summary>What else is to be known.</summary>
    public readonly EventFlags Flags;

    /// <summary>The number of the lease, where <see cref="IsLeased"/>.</summary>
    public readonly uint Lease;

    /// <summary>Accept: the listener's handle; 0 for connected and transferred ones.</summary>
    public readonly long Source;

    public bool HasMore => (Flags & EventFlags.More) != 0;

    public bool IsLeased => (Flags & EventFlags.Leased) != 0;

    public bool IsConnected => (Flags & EventFlags.Connected) != 0;

    public bool IsTransferred => (Flags & EventFlags.Transferred) != 0;

    public bool IsDisconnected => (Flags & EventFlags.Disconnected) != 0;

    public bool IsRetired => (Flags & EventFlags.Retired) != 0;

    public bool HasRest => (Flags & EventFlags.Rest) != 0;

    public bool IsHangUp => (Flags & EventFlags.HangUp) != 0;

    public bool IsGiven => (Flags & EventFlags.Given) != 0;

    public bool IsHeld => (Flags & EventFlags.Held) != 0;

    public bool IsReleased => (Flags & EventFlags.Released) != 0;

    public bool IsCopied => (Flags & EventFlags.Copied) != 0;

    public override string ToString() =>
        $"{Stage} cookie={Cookie} handle={Handle:x} result={Result} flags={Flags} lease={Lease}";
}
