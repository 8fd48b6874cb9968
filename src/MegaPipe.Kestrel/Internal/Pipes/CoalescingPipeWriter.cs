// The connection's writer: fills pool blocks; what is flushed goes out at the end of the carrier's turn, everything of
// a connection in one request. It keeps the contract of System.IO.Pipelines' own writer: one suite runs against both.
//
// Two sides: the application writes and flushes, the carrier sends. Bytes belong to the application until they are
// flushed, to the kernel while a write is in flight. The bytes themselves are in SendBlocks.
using System.Buffers;
using System.IO.Pipelines;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Pipes;

internal sealed class CoalescingPipeWriter : PipeWriter
{
    /// <summary>Two of the largest writes: one may be made while the last is not acknowledged yet.</summary>
    private const int MaxHeldBytes = 8 << 20;

    /// <summary>
    /// Writes in a row that were copied, after which the connection asks no more. One says little: where a driver
    /// copies one short packet of a write, all of it is reported as copied.
    /// </summary>
    private const int CopiedInRowAtEnd = 4;

    private readonly ContinuationCost _cost; // and the lock
    private readonly IPipeOwner _connection;
    private readonly long _pauseAt;

    /// <summary>Made when a flush waits for the first time: most connections never have one.</summary>
    private PendingFlush? _pending;

    private TransportChannel _channel;
    private SendBlocks _blocks;

    // Set from GetMemory to the next flush: the carrier leaves the tail alone, so no lock is needed in between.
    private bool _writing;
    private bool _paused;         // unsent bytes have reached _pauseAt, and not yet fallen below _resumeBelow
    private bool _canceled;
    private bool _completed;      // by the application
    private bool _closed;         // the carrier sends no more

    // Writes of so many bytes are to be sent without a copy. int.MaxValue: none is so large.
    private int _zeroCopyFrom;
    private int _copiedInRow;
    private int _heldBytes;       // that the kernel may still send from
    private HeldWrite? _spareHold;

    public CoalescingPipeWriter(
        IPipeOwner connection, ContinuationCost cost, long pauseAt, int zeroCopyFrom = int.MaxValue)
    {
        _cost = cost;
        _zeroCopyFrom = zeroCopyFrom;
        _connection = connection;
        _channel = connection.Channel;
        _pauseAt = pauseAt;
    }

    public override bool CanGetUnflushedBytes => true;

    public override long UnflushedBytes => _blocks.Unflushed;

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
        SendSegment? tail = _blocks.Tail;
        if ((uint)bytes > (uint)(tail?.Room ?? 0))
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

        _blocks.Fill(bytes);
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

        bool send;
        PendingFlush? wait = null;
        FlushResult result = default;
        lock (_cost)
        {
            if (IsPending)
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
                wait = _pending ??= new PendingFlush(this, _cost, _channel.Scheduling);
                wait.Begin(cancellationToken);
            }
        }

        if (send)
        {
            _cost.OnFlush();
            _connection.Ask(ConnectionAsks.Send);
        }

        return wait is null ? new ValueTask<FlushResult>(result) : wait.Await();
    }

    public override void CancelPendingFlush()
    {
        PendingFlush? released;
        lock (_cost)
        {
            _canceled = true;
            released = TryRelease();
        }

        released?.RunOnPool();
    }

    public override void Complete(Exception? exception = null)
    {
        lock (_cost)
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

    /// <summary>A flush waits. Any thread.</summary>
    public bool IsAwaited
    {
        get
        {
            lock (_cost)
            {
                return IsPending;
            }
        }
    }

    /// <summary>Everything flushed has been sent.</summary>
    public bool IsDrained
    {
        get
        {
            lock (_cost)
            {
                return _blocks.Unsent == 0;
            }
        }
    }

    /// <summary>The carrier of <paramref name="channel"/>, where the connection lives from now on.</summary>
    public void MoveTo(TransportChannel channel) => _channel = channel;

    /// <summary>
    /// The carrier: what to send next, as <see cref="SendBlocks.TakeWrite"/> has it. With <paramref name="hold"/>, from
    /// the vectors and without a copy; then the channel's <see cref="SendHolds"/> have it until the kernel's last word.
    /// </summary>
    public int TakeWrite(
        TransportChannel channel, out nint address, out IoVectorArray? vectors, out HeldWrite? hold)
    {
        lock (_cost)
        {
            int bytes = _blocks.TakeWrite(channel, _zeroCopyFrom, out address, out vectors);
            hold = bytes < _zeroCopyFrom ? null : TryHold(channel, bytes, vectors!.Count);
            return bytes;
        }
    }

    /// <summary>The carrier: the write has ended, and the kernel keeps its memory. Before <see cref="Sent"/>.</summary>
    public void Keep(HeldWrite hold)
    {
        lock (_cost)
        {
            _blocks.Hold(hold);
        }
    }

    /// <summary>A carrier, of the channel where the write was made; the connection may be another's, or gone.</summary>
    public void Released(HeldWrite hold, bool copied)
    {
        lock (_cost)
        {
            SendBlocks.Released(hold);
            _heldBytes -= hold.Bytes;
            _spareHold = hold;
            _copiedInRow = copied ? _copiedInRow + 1 : 0;
            if (_copiedInRow >= CopiedInRowAtEnd)
            {
                _zeroCopyFrom = int.MaxValue; // its way stays what it is
            }
        }
    }

    /// <summary>The carrier: <paramref name="bytes"/> have been sent.</summary>
    public void Sent(int bytes)
    {
        PendingFlush? released;
        lock (_cost)
        {
            _blocks.Sent(bytes);
            ReleaseIdleTail();
            _paused &= _blocks.Unsent >= Math.Max(1, _pauseAt / 2);
            released = _paused ? null : TryRelease();
        }

        Resume(released);
    }

    /// <summary>
    /// The carrier: nothing will be sent any more and no write is in flight. Pending flushes complete.
    /// </summary>
    public void Close()
    {
        PendingFlush? released;
        lock (_cost)
        {
            _closed = true;
            _blocks.GiveUp();
            if (!_writing)
            {
                _blocks.ReturnAll();
            }

            released = TryRelease();
        }

        Resume(released);
    }

    /// <summary>Under the lock: a flush waits, or is about to get its result.</summary>
    private bool IsPending => _pending is { IsPending: true };

    /// <summary>Under the lock: the flush that waits, which the caller is the one to run; null: none.</summary>
    private PendingFlush? TryRelease() => _pending is { } pending && pending.TryRelease() ? pending : null;

    /// <summary>The carrier, after the lock.</summary>
    private void Resume(PendingFlush? released)
    {
        if (released is not null)
        {
            _channel.Schedule(released);
        }
    }

    /// <summary>
    /// null: this one is to be copied. What the kernel holds is bounded: unsent bytes do not count it, so that a flush
    /// never waits for a peer's acknowledgement.
    /// </summary>
    private HeldWrite? TryHold(TransportChannel channel, int bytes, int blocks)
    {
        if (_heldBytes + bytes > MaxHeldBytes || !channel.Holds.Allows(bytes))
        {
            return null;
        }

        HeldWrite hold = _spareHold ?? new HeldWrite(this);
        _spareHold = null;
        hold.Bytes = bytes;
        hold.Blocks.EnsureCapacity(blocks); // when the kernel keeps them, memory must not be wanted
        channel.Holds.Add(hold);
        _heldBytes += bytes;
        return hold;
    }

    /// <summary>
    /// A tail with at least <paramref name="sizeHint"/> (or one) free bytes, which is the application's.
    /// </summary>
    private SendSegment PrepareTail(int sizeHint)
    {
        ThrowIfCompleted();
        ArgumentOutOfRangeException.ThrowIfNegative(sizeHint);
        int needed = Math.Max(1, sizeHint);
        SendSegment? tail = _blocks.Tail;
        if (_writing && tail is not null && tail.Room >= needed)
        {
            return tail;
        }

        lock (_cost)
        {
            _writing = true;
            tail = _blocks.Tail;
            if (tail is not null && tail.Room >= needed)
            {
                return tail;
            }

            return _blocks.AddTail(_connection.MemoryPool, needed);
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
        _writing = false;
        if (_closed)
        {
            _blocks.Discard();
            return false;
        }

        long unsent = _blocks.Unsent;
        long bytes = _blocks.Flush();
        if (bytes == 0)
        {
            ReleaseIdleTail();
            return false;
        }

        _paused |= unsent < _pauseAt && unsent + bytes >= _pauseAt;
        return true;
    }

    /// <summary>An idle connection holds no block.</summary>
    private void ReleaseIdleTail()
    {
        if (!_writing && _blocks.IsIdle)
        {
            _blocks.ReturnAll();
        }
    }

    /// <summary>The result of the pending flush, when its awaiter asks.</summary>
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
        : PendingOperation<FlushResult>(cost, scheduling, sync: cost)
    {
        protected override FlushResult Finish(CancellationToken token) => writer.FinishFlush(token);
    }
}
