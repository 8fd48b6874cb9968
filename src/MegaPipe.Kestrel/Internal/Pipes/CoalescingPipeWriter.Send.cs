// The writer's other side: the carrier takes everything flushed so far as one write, and frees it when it was sent.
using System.Buffers;
using System.IO.Pipelines;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Pipes;

internal sealed partial class CoalescingPipeWriter
{
    /// <summary>
    /// A gathered write's total has to fit in 31 bits; far less keeps one connection from taking a turn.
    /// </summary>
    private const long MaxWriteBytes = 1 << 22;

    /// <summary>Everything flushed has been sent.</summary>
    public bool IsDrained
    {
        get
        {
            lock (_sync)
            {
                return _unsent == 0;
            }
        }
    }

    /// <summary>
    /// The carrier: what to send next. One block gives an address and a length; several fill vectors from
    /// <paramref name="channel"/>. 0 when there is nothing.
    /// </summary>
    public int TakeWrite(TransportChannel channel, out nint address, out IoVectorArray? vectors)
    {
        address = 0;
        vectors = null;
        lock (_sync)
        {
            if (_unsent == 0 || _closed)
            {
                return 0;
            }

            SendSegment segment = _head!;
            int bytes = Sendable(segment);
            address = segment.Address + segment.Sent;
            if (ReferenceEquals(segment, _flushedIn))
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
    }

    /// <summary>The carrier: <paramref name="bytes"/> have been sent.</summary>
    public void Sent(int bytes)
    {
        bool release;
        lock (_sync)
        {
            _unsent -= bytes;
            while (bytes > 0)
            {
                SendSegment segment = _head!;
                int taken = Math.Min(bytes, segment.Filled - segment.Sent);
                segment.Sent += taken;
                bytes -= taken;
                if (segment.Sent < segment.Filled)
                {
                    break;
                }

                if (ReferenceEquals(segment, _tail))
                {
                    break;
                }

                _head = segment.Next;
                Free(segment);
            }

            ReleaseIdleTail();
            _paused &= _unsent >= _resumeBelow;
            release = !_paused && _pending.TryRelease();
        }

        if (release)
        {
            _channel.Resume(_pending);
        }
    }

    /// <summary>
    /// The carrier: nothing will be sent any more and no write is in flight. Pending flushes complete.
    /// </summary>
    public void Close()
    {
        bool release;
        lock (_sync)
        {
            _closed = true;
            _unsent = 0;
            if (!_writing)
            {
                FreeAll();
            }

            release = _pending.TryRelease();
        }

        if (release)
        {
            _channel.Resume(_pending);
        }
    }

    private int Sendable(SendSegment segment) =>
        (ReferenceEquals(segment, _flushedIn) ? _flushedTo : segment.Filled) - segment.Sent;

    /// <summary>An idle connection holds no block.</summary>
    private void ReleaseIdleTail()
    {
        if (!_writing && _unsent == 0 && _unflushed == 0 && _tail is not null)
        {
            FreeAll();
        }
    }

    private void FreeAll()
    {
        SendSegment? segment = _head;
        _head = _tail = _flushedIn = null;
        while (segment is not null)
        {
            SendSegment? next = segment.Next;
            Free(segment);
            segment = next;
        }
    }

    private void Free(SendSegment segment)
    {
        segment.Return();
        _spare ??= segment;
    }

    /// <summary>What the pending flush comes to, when its awaiter asks.</summary>
    private FlushResult FinishFlush(CancellationToken token)
    {
        if (_paused && !_canceled && !_closed)
        {
            token.ThrowIfCancellationRequested();
        }

        FlushResult result = new(_canceled, _closed);
        _canceled = false;
        return result;
    }

    /// <summary>The awaited flush.</summary>
    private sealed class PendingFlush(CoalescingPipeWriter writer, ContinuationCost cost, ChannelScheduling scheduling)
        : PendingOperation<FlushResult>(writer._sync, cost, scheduling)
    {
        protected override FlushResult Finish(CancellationToken token) => writer.FinishFlush(token);
    }
}
