// One receive buffer of a channel as managed memory, so that a lease reaches a pipe's reader without a copy and without
// an allocation.
using System.Buffers;

namespace MegaPipe.Native;

/// <summary>
/// A receive buffer of a channel. The memory is the kernel's to fill whenever no lease on it is out, so it is read only
/// between the event that brought the lease and <see cref="Channel.Release"/>; after the channel is disposed it throws.
/// </summary>
internal sealed unsafe class LeasedBuffer : MemoryManager<byte>
{
    private readonly int _bytes;
    private nint _address;

    internal LeasedBuffer(uint lease, nint address, int bytes)
    {
        Lease = lease;
        _address = address;
        _bytes = bytes;
    }

    /// <summary>The number of the lease: its place in the channel's buffers.</summary>
    public uint Lease { get; }

    /// <summary>The bytes that an event brought.</summary>
    public Memory<byte> Slice(nint data, int bytes) => Memory.Slice((int)(data - Address), bytes);

    public override Span<byte> GetSpan() => new((void*)Address, _bytes);

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)_bytes);
        return new MemoryHandle((byte*)Address + elementIndex);
    }

    public override void Unpin()
    {
    }

    /// <summary>The channel and with it the memory are gone.</summary>
    internal void Invalidate() => _address = 0;

    protected override void Dispose(bool disposing)
    {
        // The memory is the channel's.
    }

    private nint Address
    {
        get
        {
            nint address = _address;
            ObjectDisposedException.ThrowIf(address == 0, this);
            return address;
        }
    }
}
