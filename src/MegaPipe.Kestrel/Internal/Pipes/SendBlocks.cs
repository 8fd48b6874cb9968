// What a writer holds: blocks that the application fills and the kernel sends from.
using System.Buffers;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Pipes;

/// <summary>
/// Blocks, oldest first. Bytes from the first one's Sent up to the last flush may be sent. Under the writer's lock, but
/// for the tail, which is the application's while it writes.
/// </summary>
internal struct SendBlocks
{
    /// <summary>
    /// Unflushed bytes after which blocks get larger: renting and gathering 256 small ones is 5 % of what 1 MiB costs.
    /// </summary>
    private const int LargeAfterBytes = 4 * SendSegment.PoolBytes;

    /// <summary>
    /// A gathered write's total has to fit in 31 bits; far less keeps one connection from taking a turn.
    /// </summary>
    private const long MaxWriteBytes = 1 << 22;

    private SendSegment? _head;
    private SendSegment? _flushedIn;
    private int _flushedTo;

    /// <summary>The block that is being filled.</summary>
    public SendSegment? Tail { get; private set; }

    public long Unflushed { get; private set; }

    public long Unsent { get; private set; }

    /// <summary>Nothing is to be sent, nothing was written, but a block is here.</summary>
    public readonly bool IsIdle => Unsent == 0 && Unflushed == 0 && Tail is not null;

    /// <summary>The application has written <paramref name="bytes"/> to the tail.</summary>
    public void Fill(int bytes)
    {
        Tail!.Filled += bytes;
        Unflushed += bytes;
    }

    /// <summary>A new tail with room for <paramref name="needed"/> bytes.</summary>
    public SendSegment AddTail(MemoryPool<byte> pool, int needed)
    {
        SendSegment? tail = Tail;
        SendSegment segment = SpareSegments.Take();
        segment.Rent(pool, needed, large: needed > SendSegment.PoolBytes || Unflushed >= LargeAfterBytes);
        if (tail is null)
        {
            _head = segment;
        }
        else if (ReferenceEquals(_head, tail) && tail.Filled == 0)
        {
            // An empty block that was too small: nothing of it will be sent.
            Return(tail);
            _head = segment;
        }
        else
        {
            tail.Next = segment;
        }

        Tail = segment;
        return segment;
    }

    /// <summary>What was written may be sent. Its bytes.</summary>
    public long Flush()
    {
        long bytes = Unflushed;
        Unflushed = 0;
        if (bytes > 0)
        {
            Unsent += bytes;
            _flushedIn = Tail;
            _flushedTo = Tail!.Filled;
        }

        return bytes;
    }

    /// <summary>
    /// What to send next. One block gives an address and a length; several, or one of <paramref name="vectorsFrom"/>
    /// bytes, fill vectors from <paramref name="channel"/>. 0 when there is nothing.
    /// </summary>
    public readonly int TakeWrite(
        TransportChannel channel, int vectorsFrom, out nint address, out IoVectorArray? vectors)
    {
        address = 0;
        vectors = null;
        if (Unsent == 0)
        {
            return 0;
        }

        SendSegment segment = _head!;
        int bytes = Sendable(segment);
        address = segment.Address + segment.Sent;
        if (ReferenceEquals(segment, _flushedIn) && bytes < vectorsFrom)
        {
            return bytes;
        }

        vectors = channel.RentVectors();
        long total = 0;
        for (SendSegment? at = segment; at is not null && total < MaxWriteBytes; at = at.Next)
        {
            bytes = Sendable(at);
            if (bytes > 0 && !vectors.TryAdd(at.Address + at.Sent, bytes))
            {
                break;
            }

            total += bytes;
            if (ReferenceEquals(at, _flushedIn))
            {
                break;
            }
        }

        return (int)total;
    }

    /// <summary><paramref name="bytes"/> have been sent: their blocks go back, but for the tail.</summary>
    public void Sent(int bytes)
    {
        Unsent -= bytes;
        while (bytes > 0)
        {
            SendSegment segment = _head!;
            int taken = Math.Min(bytes, segment.Filled - segment.Sent);
            segment.Sent += taken;
            bytes -= taken;
            if (segment.Sent < segment.Filled || ReferenceEquals(segment, Tail))
            {
                break;
            }

            _head = segment.Next;
            Return(segment);
        }
    }

    /// <summary>
    /// The kernel keeps the blocks of the write that was taken last and has just ended, until <see cref="Released"/>.
    /// </summary>
    public readonly void Hold(HeldWrite write)
    {
        int left = write.Bytes;
        for (SendSegment? segment = _head; left > 0; segment = segment.Next)
        {
            int bytes = Math.Min(left, segment!.Filled - segment.Sent);
            if (bytes > 0)
            {
                segment.Holds++;
                write.Blocks.Add(segment);
                left -= bytes;
            }
        }
    }

    public static void Released(HeldWrite write)
    {
        foreach (SendSegment segment in write.Blocks)
        {
            if (--segment.Holds == 0 && segment.IsLeft)
            {
                Return(segment);
            }
        }

        write.Blocks.Clear();
    }

    /// <summary>What was flushed will not be sent.</summary>
    public void GiveUp() => Unsent = 0;

    /// <summary>What was written will not be flushed.</summary>
    public void Discard()
    {
        Unflushed = 0;
        ReturnAll();
    }

    public void ReturnAll()
    {
        SendSegment? segment = _head;
        _head = Tail = _flushedIn = null;
        while (segment is not null)
        {
            SendSegment? next = segment.Next;
            Return(segment);
            segment = next;
        }
    }

    private readonly int Sendable(SendSegment segment) =>
        (ReferenceEquals(segment, _flushedIn) ? _flushedTo : segment.Filled) - segment.Sent;

    private static void Return(SendSegment segment)
    {
        if (segment.Holds > 0)
        {
            segment.IsLeft = true;
            segment.Next = null;
            return;
        }

        segment.Return();
        SpareSegments.Put(segment);
    }
}
