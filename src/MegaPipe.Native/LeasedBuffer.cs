// One receive buffer of a channel as managed memory, so that a lease reaches a pipe's reader without a copy and without
// an allocation.
using System.Buffers;

namespace MegaPipe.Native;

/// <summary>
/// A receive buffer of a channel. The memory is the kernel's to fill whenever no lease on it is out, so it is read only
/// between the event that brought the lease and <see cref="Channel.Release"/>. A lease that is out when the channel is
/// disposed stays readable as long as this object can be reached.
/// </summary>
internal sealed unsafe class LeasedBuffer : MemoryManager<byte>
{
#pragma warning disable IDE0052 // only held
    private readonly LeaseMemory _memory;
#pragma warning restore IDE0052
    private readonly nint _address;
    private readonly int _bytes;

    internal LeasedBuffer(LeaseMemory memory, uint lease, nint address, int bytes)
    {
        _memory = memory;
        Lease = lease;
        _address = address;
        _bytes = bytes;
    }

    /// <summary>The number of the lease: its place in the channel's buffers.</summary>
    public uint Lease { get; }

    /// <summary>The bytes that an event brought.</summary>
    public Memory<byte> Slice(nint data, int bytes) => Memory.Slice((int)(data - _address), bytes);

    public override Span<byte> GetSpan() => new((void*)_address, _bytes);

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((uint)elementIndex, (uint)_bytes);
        return new MemoryHandle((byte*)_address + elementIndex, pinnable: this);
    }

    public override void Unpin()
    {
    }

    protected override void Dispose(bool disposing)
    {
        // The memory is the channel's.
    }
}
