// A piece of received data in a reader's sequence: a lease of the channel's buffers, or copied into pool memory.
using System.Buffers;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Channels;

/// <summary>
/// One segment. Those of leases are made once per channel and reused; those of pool memory are made when leases are
/// scarce, and take further data while they have room.
/// </summary>
internal sealed class ReceiveSegment : ReadOnlySequenceSegment<byte>
{
    private readonly LeasePool? _pool;
    private readonly LeasedBuffer? _buffer;
    private IMemoryOwner<byte>? _owner;
    private Memory<byte> _available;

    /// <summary>The segment of one lease, for the channel's life.</summary>
    public ReceiveSegment(LeasePool pool, LeasedBuffer buffer)
    {
        _pool = pool;
        _buffer = buffer;
        _available = buffer.Memory;
    }

    /// <summary>A segment of pool memory.</summary>
    public ReceiveSegment(IMemoryOwner<byte> owner)
    {
        _owner = owner;
        _available = owner.Memory;
    }

    public uint Lease => _buffer!.Lease;

    public bool IsLease => _buffer is not null;

    /// <summary>Bytes of data.</summary>
    public int Length => Memory.Length;

    /// <summary>Links of the channel's list of returned leases.</summary>
    public ReceiveSegment? NextReturned { get; set; }

    public ReceiveSegment? NextSegment => (ReceiveSegment?)Next;

    /// <summary>The kernel put <paramref name="bytes"/> into the lease.</summary>
    public void Fill(int bytes) => Memory = _available[..bytes];

    /// <summary>Takes as much of <paramref name="data"/> as there is room for; a lease takes none.</summary>
    public int Append(ReadOnlySpan<byte> data)
    {
        if (_owner is null)
        {
            return 0;
        }

        int taken = Math.Min(data.Length, _available.Length - Length);
        data[..taken].CopyTo(_available.Span[Length..]);
        Memory = _available[..(Length + taken)];
        return taken;
    }

    /// <summary>First in a sequence, at a position of the connection.</summary>
    public void SetStart(long position) => RunningIndex = position;

    public void LinkAfter(ReceiveSegment previous)
    {
        RunningIndex = previous.RunningIndex + previous.Length;
        previous.Next = this;
    }

    public void UnlinkNext() => Next = null;

    /// <summary>Before the memory is given back: nothing refers to it through this segment any more.</summary>
    public void Reset()
    {
        Next = null;
        RunningIndex = 0;
        Memory = default;
    }

    /// <summary>Gives the memory back to where it came from. Any thread.</summary>
    public void Return()
    {
        if (_pool is not null)
        {
            _pool.Return(this);
            return;
        }

        Reset();
        _available = default;
        _owner!.Dispose();
        _owner = null;
    }
}
