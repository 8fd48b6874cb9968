// The connection's writer: fills pool blocks; what is flushed goes out at the end of the carrier's turn, everything of
// a connection in one request. It keeps the contract of System.IO.Pipelines' own writer: one suite runs against both.
//
// Two sides: the application writes and flushes, the carrier sends (CoalescingPipeWriter.Send.cs). Bytes belong to the
// application until they are flushed, to the kernel while a write is in flight.
using System.Buffers;
using System.IO.Pipelines;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;

namespace MegaPipe.Kestrel.Internal.Pipes;

internal sealed partial class CoalescingPipeWriter : PipeWriter
{
    /// <summary>
    /// Unflushed bytes after which blocks get larger: renting and gathering 256 small ones is 5 % of what 1 MiB costs.
    /// </summary>
    private const int LargeAfterBytes = 4 * SendSegment.PoolBytes;

    private readonly Lock _sync = new();
    private readonly IPipeOwner _connection;
    private readonly TransportChannel _channel;
    private readonly PendingFlush _pending;
    private readonly long _pauseAt;
    private readonly long _resumeBelow;

    // Blocks, oldest first. Bytes from _head.Sent up to _flushedIn/_flushedTo may be sent.
    private SendSegment? _head;
    private SendSegment? _tail;
    private SendSegment? _spare;
    private SendSegment? _flushedIn;
    private int _flushedTo;
    private long _unflushed;
    private long _unsent;

    // Set from GetMemory to the next flush: the carrier leaves the tail alone, so no lock is needed in between.
    private bool _writing;
    private bool _paused;         // unsent bytes have reached _pauseAt, and not yet fallen below _resumeBelow
    private bool _canceled;
    private bool _completed;      // by the application
    private bool _closed;         // the carrier sends no more

    public CoalescingPipeWriter(
        IPipeOwner connection, ContinuationCost cost, ChannelScheduling scheduling, long pauseAt)
    {
        _connection = connection;
        _channel = connection.Channel;
        _pending = new PendingFlush(this, cost, scheduling);
        _pauseAt = pauseAt;
        _resumeBelow = Math.Max(1, pauseAt / 2);
    }

    public override bool CanGetUnflushedBytes => true;

    public override long UnflushedBytes => _unflushed;

    public override Memory<byte> GetMemory(int sizeHint = 0)
    {
        SendSegment tail = PrepareTail(sizeHint);
        return tail.Memory[tail.Filled..];
    }

    public override Span<byte> GetSpan(int sizeHint = 0)
    {
        SendSegment tail = PrepareTail(sizeHint);
        return tail.Memory.Span[tail.Filled..];
    }

    public override void Advance(int bytes)
    {
        SendSegment? tail = _tail;
        if ((uint)bytes > (uint)(tail?.Free ?? 0))
        {
            throw new ArgumentOutOfRangeException(nameof(bytes));
        }

        // Nobody takes what is written any more: writers that do not flush must not pile up memory.
        if (bytes == 0 || Volatile.Read(ref _closed))
        {
            return;
        }

        if (!_writing)
        {
            PrepareTail(0);
        }

        tail!.Filled += bytes;
        _unflushed += bytes;
    }

    /// <summary>Writes and flushes, or does neither.</summary>
    public override ValueTask<FlushResult> WriteAsync(
        ReadOnlyMemory<byte> source, CancellationToken cancellationToken = default)
    {
        ThrowIfCompleted();
        if (Volatile.Read(ref _closed))
        {
            return new ValueTask<FlushResult>(new FlushResult(isCanceled: false, isCompleted: true));
        }

        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<FlushResult>(cancellationToken);
        }

        this.Write(source.Span);
        return FlushAsync(cancellationToken);
    }

    public override ValueTask<FlushResult> FlushAsync(CancellationToken cancellationToken = default)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<FlushResult>(cancellationToken);
        }

        bool send, wait = false;
        FlushResult result = default;
        lock (_sync)
        {
            if (_pending.IsPending)
            {
                throw new InvalidOperationException("Concurrent reads or writes are not supported.");
            }

            send = Commit();
            if (_canceled || _closed || !_paused)
            {
                result = new FlushResult(_canceled, _closed);
                _canceled = false;
            }
            else
            {
                wait = true;
                _pending.Begin(cancellationToken);
            }
        }

        if (send)
        {
            _pending.Cost.OnFlush();
            _connection.Ask(ConnectionAsks.Send);
        }

        return wait ? _pending.Await() : new ValueTask<FlushResult>(result);
    }

    public override void CancelPendingFlush()
    {
        bool release;
        lock (_sync)
        {
            _canceled = true;
            release = _pending.TryRelease();
        }

        if (release)
        {
            _pending.RunOnPool();
        }
    }

    public override void Complete(Exception? exception = null)
    {
        lock (_sync)
        {
            if (_completed)
            {
                return;
            }

            _completed = true;
            Commit();
            _writing = false;
        }

        _connection.OnOutputCompleted(exception);
    }

    /// <summary>
    /// A tail with at least <paramref name="sizeHint"/> (or one) free bytes, which is the application's.
    /// </summary>
    private SendSegment PrepareTail(int sizeHint)
    {
        ThrowIfCompleted();
        ArgumentOutOfRangeException.ThrowIfNegative(sizeHint);
        int needed = Math.Max(1, sizeHint);
        SendSegment? tail = _tail;
        if (_writing && tail is not null && tail.Free >= needed)
        {
            return tail;
        }

        lock (_sync)
        {
            _writing = true;
            tail = _tail;
            if (tail is not null && tail.Free >= needed)
            {
                return tail;
            }

            SendSegment segment = _spare ?? new SendSegment();
            _spare = null;
            segment.Take(
                _connection.MemoryPool, needed, large: needed > SendSegment.PoolBytes || _unflushed >= LargeAfterBytes);
            if (tail is null)
            {
                _head = segment;
            }
            else if (ReferenceEquals(_head, tail) && tail.Filled == 0)
            {
                // An empty block that was too small: nothing of it will be sent.
                Free(tail);
                _head = segment;
            }
            else
            {
                tail.Next = segment;
            }

            _tail = segment;
            return segment;
        }
    }

    private void ThrowIfCompleted()
    {
        if (_completed)
        {
            throw new InvalidOperationException("Writing is not allowed after writer was completed.");
        }
    }

    /// <summary>Hands what was written to the carrier. true when there is something to send.</summary>
    private bool Commit()
    {
        long bytes = _unflushed;
        _unflushed = 0;
        _writing = false;
        if (_closed)
        {
            FreeAll();
            return false;
        }

        if (bytes == 0)
        {
            ReleaseIdleTail();
            return false;
        }

        _paused |= _unsent < _pauseAt && _unsent + bytes >= _pauseAt;
        _unsent += bytes;
        _flushedIn = _tail;
        _flushedTo = _tail!.Filled;
        return true;
    }
}
