// The reader's other side: the carrier appends what arrives and ends the stream; pending reads are resumed.
using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.ExceptionServices;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;

namespace MegaPipe.Kestrel.Internal.Pipes;

internal sealed partial class LeasePipeReader
{
    /// <summary>
    /// The carrier: takes a lease over. Unexamined bytes after it; -1 when the application does not read any more.
    /// </summary>
    public long Append(ReceiveSegment lease)
    {
        bool release = false;
        bool copied = false;
        long unread;
        lock (_sync)
        {
            if (_completed || _ended)
            {
                unread = -1;
                copied = true;
            }
            else
            {
                // Scarce leases go back at once, unless the application waits for just these bytes.
                bool awaited = _pending.IsPending && _received + lease.Length - _consumed >= _minimumBytes;
                if (_channel.Leases.IsScarce && !awaited)
                {
                    AppendCopy(lease.Memory.Span);
                    copied = true;
                }
                else
                {
                    Link(lease);
                    _received += lease.Length;
                }

                _fresh = true;
                release = HasResult && _pending.TryRelease();

                // Pausing while the application waits for a minimum would let both wait for ever.
                unread = _pending.IsWaiting ? 0 : _received - _examined;
            }
        }

        if (copied)
        {
            _channel.Leases.ReturnNow(lease);
        }

        if (release)
        {
            _channel.Resume(_pending);
        }

        return unread;
    }

    /// <summary>The carrier: no more data will come; null is the peer's orderly end.</summary>
    public void End(Exception? error)
    {
        bool release;
        lock (_sync)
        {
            if (_ended)
            {
                return;
            }

            _ended = true;
            _error = error is null ? null : ExceptionDispatchInfo.Capture(error);
            release = _pending.TryRelease();
        }

        if (release)
        {
            _channel.Resume(_pending);
        }
    }

    /// <summary>The carrier: a read that had its result at once, but is to complete here.</summary>
    public void ResumeHere() => _channel.Resume(_pending);

    private void Link(ReceiveSegment segment)
    {
        if (_tail is null)
        {
            segment.SetStart(_received);
            _head = segment;
            _headOffset = 0;
        }
        else
        {
            segment.LinkAfter(_tail);
        }

        _tail = segment;
    }

    private void AppendCopy(ReadOnlySpan<byte> data)
    {
        while (!data.IsEmpty)
        {
            int taken = _tail?.Append(data) ?? 0;
            if (taken == 0)
            {
                Link(new ReceiveSegment(_connection.MemoryPool.Rent()));
                continue;
            }

            _received += taken;
            data = data[taken..];
        }
    }

    /// <summary>
    /// Moves what is left unconsumed from leases into pool memory. The leases, to be returned; null when there is none.
    /// </summary>
    private ReceiveSegment? CopyOut()
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
        _received = first.RunningIndex + offset;
        _tail = before;
        if (before is null)
        {
            _head = null;
            _headOffset = 0;
        }
        else
        {
            before.UnlinkNext();
        }

        for (ReceiveSegment? at = first; at is not null; at = at.NextSegment, offset = 0)
        {
            AppendCopy(at.Memory.Span[offset..]);
        }

        return first;
    }

    /// <summary>What the pending read comes to, when its awaiter asks.</summary>
    private ReadResult FinishRead(CancellationToken token)
    {
        if (!HasResult)
        {
            _minimumBytes = 0;
            _state = ReadState.Tentative;
            token.ThrowIfCancellationRequested();
        }

        return TakeResult();
    }

    /// <summary>The awaited read.</summary>
    private sealed class PendingRead(LeasePipeReader reader, ContinuationCost cost, ChannelScheduling scheduling)
        : PendingOperation<ReadResult>(reader._sync, cost, scheduling)
    {
        protected override ReadResult Finish(CancellationToken token) => reader.FinishRead(token);
    }
}
