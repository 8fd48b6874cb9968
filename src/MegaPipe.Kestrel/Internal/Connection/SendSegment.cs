// A block of pool memory that a connection's writer fills and the kernel sends from.
using System.Buffers;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal;

/// <summary>A block of a writer: filled to <see cref="Filled"/>, sent to <see cref="Sent"/>.</summary>
internal sealed class SendSegment
{
    private IMemoryOwner<byte>? _owner;
    private MemoryHandle _pin;

    public Memory<byte> Memory { get; private set; }

    /// <summary>Where the block lies; it does not move until it is returned.</summary>
    public nint Address { get; private set; }

    public int Filled { get; set; }

    public int Sent { get; set; }

    public SendSegment? Next { get; set; }

    public int Free => Memory.Length - Filled;

    public void Take(IMemoryOwner<byte> owner)
    {
        _owner = owner;
        Memory = owner.Memory;
        _pin = Memory.Pin();
        Address = PinnedMemory.AddressOf(in _pin);
    }

    /// <summary>Gives the memory back; the segment itself can be used again.</summary>
    public void Return()
    {
        _pin.Dispose();
        _owner!.Dispose();
        _owner = null;
        Memory = default;
        Address = 0;
        Filled = Sent = 0;
        Next = null;
    }
}
