// The connection's writer: fills pool blocks; what is flushed goes out at the end of the carrier's turn, everything of
// a connection in one request. It keeps the contract of System.IO.Pipelines' own writer: one suite runs against both.
//
// Two sides: the application writes and flushes, the carrier sends (CoalescingPipeWriter.Send.cs). Bytes belong to the
// application until they are flushed, to the kernel while a write is in flight.
using System.Buffers;
using System.IO.Pipelines;

namespace MegaPipe.Kestrel.Internal;

internal sealed partial class CoalescingPipeWriter : PipeWriter
{
    /// <summary>
    /// Unflushed bytes after which blocks get larger: renting and gathering 256 small ones is 5 % of what 1 MiB costs.
    /// </summary>
    private const int LargeAfterBytes = 4 * SendSegment.PoolBytes;

    private readonly Lock _sync = new();
    private readonly MegaPipeConnection _connection;
    private readonly FlushContinuation _continuation;
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
    private bool _waiting;
    private bool _resumed;
    private bool _canceled;
    private bool _completed;      // by the application
    private bool _closed;         // the carrier sends no more
    private CancellationToken _waitToken;
    private CancellationTokenRegistration _registration;

    public CoalescingPipeWriter(
        MegaPipeConnection connection, ContinuationCost cost, ChannelScheduling scheduling, long pauseAt)
    {
        _connection = connection;
        _continuation = new FlushContinuation(this, cost, scheduling);
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

        if (bytes == 0)
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
            if (_waiting)
            {
                throw new InvalidOperationException("Concurrent reads or writes are not supported.");
            }

            send = Commit();
            if (_canceled || _closed || _unsent < _pauseAt || _completed)
            {
                result = new FlushResult(_canceled, _closed);
                _canceled = false;
            }
            else
            {
                wait = true;
                _continuation.Prepare();
                _waiting = true;
                _waitToken = cancellationToken;
            }
        }

        if (send)
        {
            _continuation.Cost.OnFlush();
            _connection.Ask(ConnectionAsks.Send);
        }

        if (!wait)
        {
            return new ValueTask<FlushResult>(result);
        }

        if (cancellationToken.CanBeCanceled)
        {
            Register(cancellationToken);
        }

        return new ValueTask<FlushResult>(_continuation, _continuation.Version);
    }

    public override void CancelPendingFlush()
    {
        bool resume;
        lock (_sync)
        {
            _canceled = true;
            resume = _waiting && !_resumed;
            _resumed |= resume;
        }

        if (resume)
        {
            ThreadPool.UnsafeQueueUserWorkItem(_continuation, preferLocal: false);
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
        if (_completed)
        {
            throw new InvalidOperationException("Writing is not allowed after writer was completed.");
        }

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

        _unsent += bytes;
        _flushedIn = _tail;
        _flushedTo = _tail!.Filled;
        return true;
    }
}
