// The connection's reader: data stays in the leases it arrived in. Keeps the contract of System.IO.Pipelines' own
// reader; tests/MegaPipe.Kestrel.Tests/Pipes runs one suite against both.
//
// Two sides: the carrier receives, the application reads. One uncontended lock between them; never held while user code
// runs, nor when the ring is entered, but for waking the channel once in a life. The data itself is ReceivedData, and
// BackPressure decides whether more is to come. What goes to the application's own memory is in .Receive.cs.
using System.Diagnostics.CodeAnalysis;
using System.IO.Pipelines;
using System.Runtime.ExceptionServices;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Pipes;

internal sealed partial class LeasePipeReader : PipeReader, IReceiver
{
    /// <summary>What the application may call next; the standard pipe's rules.</summary>
    private enum ReadState : byte
    {
        /// <summary>A read, not AdvanceTo.</summary>
        None,

        /// <summary>A result without promise (canceled, or none): both another read and AdvanceTo.</summary>
        Tentative,

        /// <summary>A result is out: only AdvanceTo.</summary>
        Reading,
    }

    private readonly IPipeOwner _connection;
    private readonly PendingRead _pending; // and the lock

    private TransportChannel _channel;
    private ReceivedData _data;
    private BackPressure _pressure;
    private ReadState _state;
    private bool _canceled;
    private bool _completed;     // by the application
    private bool _fresh;         // data that no result has brought yet
    private Opening _opening = new();
    private bool _taken;         // the application has gone on from a result with data
    private bool _onChannel;     // a read of this connection has completed on its channel
    private ExceptionDispatchInfo? _error;
    private int _minimumBytes;   // of the pending ReadAtLeastAsync

    public LeasePipeReader(
        IPipeOwner connection, ContinuationCost cost, ChannelScheduling scheduling, long pauseAt)
    {
        _connection = connection;
        _channel = connection.Channel;
        _pending = new PendingRead(this, cost, scheduling);
        _pressure = new BackPressure(pauseAt);
    }

    /// <summary>For the carrier; any thread may look.</summary>
    public ref BackPressure Pressure => ref _pressure;

    /// <summary>The application has completed this reader. Any thread.</summary>
    public bool IsCompleted
    {
        get
        {
            lock (_pending)
            {
                return _completed;
            }
        }
    }

    /// <summary>How far the client is with its first request. For the carrier.</summary>
    public ref Opening Opening => ref _opening;

    /// <summary>The application has seen data, and advanced. Never changes back, so any thread may look.</summary>
    public bool HasTaken => Volatile.Read(ref _taken);

    /// <summary>Something has arrived that the application has not been given.</summary>
    public bool HasFresh
    {
        get
        {
            lock (_pending)
            {
                return _fresh && !_completed;
            }
        }
    }

    /// <summary>The application waits, and there is no data. A cancel or a token may end that at any moment.</summary>
    public bool IsAwaitedInVain
    {
        get
        {
            lock (_pending)
            {
                return _pending.IsWaiting && _data.IsEmpty && !HasResult && !_completed;
            }
        }
    }

    /// <summary>The carrier of <paramref name="channel"/>, where the connection lives from now on.</summary>
    public void MoveTo(TransportChannel channel)
    {
        lock (_pending)
        {
            _channel = channel;
        }
    }

    public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) =>
        ReadAsync(0, cancellationToken);

    protected override ValueTask<ReadResult> ReadAtLeastAsyncCore(
        int minimumSize, CancellationToken cancellationToken) => ReadAsync(minimumSize, cancellationToken);

    private ValueTask<ReadResult> ReadAsync(int minimumBytes, CancellationToken cancellationToken)
    {
        bool resume, onChannel = false;
        lock (_pending)
        {
            ThrowIfCompleted();
            if (cancellationToken.IsCancellationRequested)
            {
                return ValueTask.FromCanceled<ReadResult>(cancellationToken);
            }

            if (_pending.IsPending || IsReceiving)
            {
                ThrowAlreadyReading();
            }

            _minimumBytes = minimumBytes;
            if (HasResult || _state == ReadState.Reading)
            {
                // Kestrel starts each connection on the thread pool. Letting its first read complete on the channel
                // brings the connection's whole life there.
                if (_onChannel || !_channel.Scheduling.OnCarrier || _state == ReadState.Reading ||
                    _channel.IsCarriedByThisThread)
                {
                    return new ValueTask<ReadResult>(TakeResult());
                }

                onChannel = true;
            }

            _onChannel = true;
            resume = minimumBytes > 0 && _pressure.ShouldResume(0);
            _pending.Begin(cancellationToken);
            if (onChannel)
            {
                _pending.TryRelease();
            }
        }

        if (resume)
        {
            _connection.Ask(ConnectionAsks.Resume);
        }

        if (onChannel)
        {
            _connection.Ask(ConnectionAsks.CompleteRead);
        }

        return _pending.Await();
    }

    public override bool TryRead(out ReadResult result)
    {
        lock (_pending)
        {
            ThrowIfCompleted();
            if (_pending.IsPending || IsReceiving)
            {
                ThrowAlreadyReading();
            }

            if (!HasResult)
            {
                _state = ReadState.Tentative;
                result = default;
                return false;
            }

            result = TakeResult();
            return true;
        }
    }

    public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
    {
        ReceiveSegment? returned;
        ReceiveSegment? returnedEnd = null;
        ReceiveSegment? copied = null;
        bool resume;
        lock (_pending)
        {
            ThrowIfCompleted();
            if (_state == ReadState.None)
            {
                throw new InvalidOperationException("No reading operation to complete.");
            }

            _taken |= !_data.IsEmpty;
            returned = _data.Advance(consumed, examined, out returnedEnd);
            _state = ReadState.None;
            resume = _pressure.ShouldResume(_data.Unexamined);
            if (!_data.IsEmpty && _channel.Leases.IsScarce)
            {
                // Cut apart first: what was consumed and what is copied are two lists from here on.
                ReceivedData.Detach(returned, returnedEnd);
                returnedEnd = null;
                copied = _data.CopyOut(_connection.MemoryPool);
            }
        }

        ReceivedData.Return(copied, null);
        ReceivedData.Return(returned, returnedEnd);
        if (resume)
        {
            _connection.Ask(ConnectionAsks.Resume);
        }
    }

    public override void CancelPendingRead()
    {
        bool release;
        lock (_pending)
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
        ReceiveSegment? returned;
        bool resume;
        lock (_pending)
        {
            if (_completed)
            {
                return;
            }

            _completed = true;
            _state = ReadState.None;
            returned = _data.Clear();
            resume = _pressure.ShouldResume(0);
        }

        ReceivedData.Return(returned, null);
        if (resume)
        {
            _connection.Ask(ConnectionAsks.Resume);
        }

        _connection.OnInputTaken();
    }

    void IReceiver.OnRead(in ChannelEvent channelEvent)
    {
        if (channelEvent.IsLeased)
        {
            OnLease(in channelEvent);
        }
        else if (!channelEvent.IsHangUp && OnReceived(in channelEvent))
        {
            return;
        }
        else
        {
            _connection.OnReadEnd(in channelEvent);
        }
    }

    private void Append(ReceiveSegment lease, bool more)
    {
        bool kept = false, release = false, pause = false, unwanted;
        try
        {
            lock (_pending)
            {
                unwanted = _completed && !IsEnded;
                _more = more;
                if (!_completed && !IsEnded)
                {
                    // Scarce leases go back at once, unless the application waits for just these bytes.
                    kept = !_channel.Leases.IsScarce ||
                        (_pending.IsPending && _data.Unconsumed + lease.Length >= _minimumBytes);
                    if (kept)
                    {
                        _data.Append(lease);
                    }
                    else
                    {
                        _data.AppendCopy(lease.Memory.Span, _connection.MemoryPool);
                    }

                    if (_opening.Listens)
                    {
                        _opening.OnData(lease.Memory.Span, Environment.TickCount64);
                    }

                    _fresh = true;
                    release = HasResult && _pending.TryRelease();

                    // Pausing while the application waits for a minimum would let both wait for ever.
                    pause = !_pending.IsWaiting && _pressure.TryPause(_data.Unexamined);
                }
            }
        }
        finally
        {
            if (!kept)
            {
                _channel.Leases.ReturnNow(lease);
            }
        }

        if (release)
        {
            _channel.Schedule(_pending);
        }

        if (unwanted)
        {
            _connection.StopReading();
        }
        else if (pause)
        {
            _connection.PauseReading();
        }
    }

    /// <summary>The carrier: no more data will come; null is the peer's orderly end.</summary>
    public void End(Exception? error)
    {
        bool release;
        lock (_pending)
        {
            if (!_pressure.TryEnd())
            {
                return;
            }

            _error = error is null ? null : ExceptionDispatchInfo.Capture(error);
            release = _pending.TryRelease();
        }

        if (release)
        {
            _channel.Schedule(_pending);
        }
    }

    /// <summary>The carrier: a read that had its result at once, but is to complete here.</summary>
    public void CompleteHere() => _channel.Schedule(_pending);

    /// <summary>Whether a read would complete now.</summary>
    private bool HasResult =>
        (_data.Unexamined > 0 && _data.Unconsumed >= _minimumBytes) || IsEnded || _canceled;

    private bool IsEnded => _pressure.Flow == ReadFlow.Ended;

    private ReadResult TakeResult()
    {
        _minimumBytes = 0;
        _fresh = false;
        _connection.OnInputTaken();
        _error?.Throw();
        bool canceled = _canceled;
        _canceled = false;
        if (_state == ReadState.Reading)
        {
            ThrowAlreadyReading();
        }

        _state = canceled ? ReadState.Tentative : ReadState.Reading;
        return new ReadResult(_data.Sequence, canceled, IsEnded);
    }

    /// <summary>The result of the pending read, when its awaiter asks.</summary>
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

    [DoesNotReturn]
    private static void ThrowAlreadyReading() =>
        throw new InvalidOperationException("Reading is already in progress.");

    private void ThrowIfCompleted()
    {
        if (_completed)
        {
            throw new InvalidOperationException("Reading is not allowed after reader was completed.");
        }
    }

    /// <summary>The awaited read.</summary>
    private sealed class PendingRead(LeasePipeReader reader, ContinuationCost cost, ChannelScheduling scheduling)
        : PendingOperation<ReadResult>(cost, scheduling)
    {
        protected override ReadResult Finish(CancellationToken token) => reader.FinishRead(token);
    }
}
