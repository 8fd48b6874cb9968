// What a reader holds: received data as a list of segments, and how far the application is in it.
using System.Buffers;
using MegaPipe.Kestrel.Internal.Channels;

namespace MegaPipe.Kestrel.Internal.Pipes;

/// <summary>Oldest first. Positions are counted from the connection's start. Under the reader's lock.</summary>
internal struct ReceivedData
{
    private ReceiveSegment? _head;
    private int _headOffset;
    private ReceiveSegment? _tail;
    private long _received;
    private long _consumed;
    private long _examined;

    /// <summary>
    /// Received and not examined, in bytes: what back-pressure counts, as the standard pipe does. An application that
    /// examined everything and waits for more must get more.
    /// </summary>
    public readonly long Unexamined => _received - _examined;

    public readonly long Unconsumed => _received - _consumed;

    public readonly bool IsEmpty => _head is null;

    public readonly ReadOnlySequence<byte> Sequence => _head is null
        ? default
        : new ReadOnlySequence<byte>(_head, _headOffset, _tail!, _tail!.Length);

    /// <summary>Takes a lease over.</summary>
    public void Append(ReceiveSegment lease)
    {
        Link(lease);
        _received += lease.Length;
    }

    public void AppendCopy(ReadOnlySpan<byte> data, MemoryPool<byte> pool)
    {
        while (!data.IsEmpty)
        {
            int taken = _tail is Copy copy ? copy.Append(data) : 0;
            if (taken == 0)
            {
                Link(new Copy(pool.Rent()));
                continue;
            }

            _received += taken;
            data = data[taken..];
        }
    }

    /// <summary>
    /// The application is done with what lies before <paramref name="consumed"/>: these segments, up to
    /// <paramref name="end"/>; to be returned.
    /// </summary>
    public ReceiveSegment? Advance(SequencePosition consumed, SequencePosition examined, out ReceiveSegment? end)
    {
        ReceiveSegment? consumedSegment = (ReceiveSegment?)consumed.GetObject();
        long consumedTo = consumedSegment is null
            ? _consumed
            : consumedSegment.Position + consumed.GetInteger();
        long examinedTo = examined.GetObject() is ReceiveSegment examinedSegment
            ? examinedSegment.Position + examined.GetInteger()
            : _examined;
        if ((examinedTo < consumedTo && examined.GetObject() is not null) || consumedTo < _consumed ||
            consumedTo > _received || examinedTo > _received)
        {
            throw new InvalidOperationException(
                "The examined position must be greater than or equal to the consumed position.");
        }

        _examined = examinedTo;
        return Consume(consumedSegment, consumedTo, out end);
    }

    /// <summary>Everything, to be returned; it counts as consumed.</summary>
    public ReceiveSegment? Clear()
    {
        ReceiveSegment? all = _head;
        _head = _tail = null;
        _consumed = _examined = _received;
        return all;
    }

    /// <summary>
    /// Moves what is left unconsumed from leases into pool memory. The leases, to be returned; null when there is none.
    /// </summary>
    public ReceiveSegment? CopyOut(MemoryPool<byte> pool)
    {
        ReceiveSegment? before = null;
        ReceiveSegment? first = _head;
        while (first is { IsLease: false })
        {
            before = first;
            first = first.NextSegment;
        }

        if (first is null)
        {
            return null;
        }

        int offset = before is null ? _headOffset : 0;
        _received = first.Position + offset;
        _tail = before;
        if (before is null)
        {
            _head = null;
            _headOffset = 0;
        }
        else
        {
            before.NextSegment = null;
        }

        for (ReceiveSegment? at = first; at is not null; at = at.NextSegment, offset = 0)
        {
            AppendCopy(at.Memory.Span[offset..], pool);
        }

        return first;
    }

    /// <summary>Ends the list that begins with <paramref name="first"/> before <paramref name="end"/>.</summary>
    public static void Detach(ReceiveSegment? first, ReceiveSegment? end)
    {
        for (ReceiveSegment? at = first; at is not null; at = at.NextSegment)
        {
            if (ReferenceEquals(at.Next, end))
            {
                at.NextSegment = null;
                return;
            }
        }
    }

    /// <summary>Gives the segments before <paramref name="end"/> back.</summary>
    public static void Return(ReceiveSegment? segment, ReceiveSegment? end)
    {
        while (segment is not null && !ReferenceEquals(segment, end))
        {
            ReceiveSegment? next = segment.NextSegment;
            segment.Return();
            segment = next;
        }
    }

    private void Link(ReceiveSegment segment)
    {
        if (_tail is null)
        {
            segment.Position = _received;
            _head = segment;
            _headOffset = 0;
        }
        else
        {
            segment.Position = _tail.Position + _tail.Length;
            _tail.NextSegment = segment;
        }

        _tail = segment;
    }

    /// <summary>The segments before <paramref name="consumedTo"/>, unlinked from the rest; to be returned.</summary>
    private ReceiveSegment? Consume(ReceiveSegment? segment, long consumedTo, out ReceiveSegment? end)
    {
        end = null;
        if (segment is null)
        {
            return null;
        }

        ReceiveSegment? first = _head;
        if (consumedTo == _received)
        {
            // Everything: an idle connection holds no buffer.
            _consumed = consumedTo;
            _head = _tail = null;
            _headOffset = 0;
            return first;
        }

        _consumed = consumedTo;
        ReceiveSegment at = segment;
        int offset = (int)(consumedTo - segment.Position);
        if (offset == at.Length)
        {
            at = at.NextSegment!;
            offset = 0;
        }

        _head = at;
        _headOffset = offset;
        end = at;
        return ReferenceEquals(first, at) ? null : first;
    }

    /// <summary>Memory of a pool, for what cannot stay in leases; takes further data while it has room.</summary>
    private sealed class Copy(IMemoryOwner<byte> owner) : ReceiveSegment
    {
        private readonly Memory<byte> _available = owner.Memory;

        public override bool IsLease => false;

        /// <summary>Takes as much of <paramref name="data"/> as there is room for.</summary>
        public int Append(ReadOnlySpan<byte> data)
        {
            int taken = Math.Min(data.Length, _available.Length - Length);
            data[..taken].CopyTo(_available.Span[Length..]);
            Memory = _available[..(Length + taken)];
            return taken;
        }

        public override void Return()
        {
            Reset();
            owner.Dispose();
        }
    }
}
