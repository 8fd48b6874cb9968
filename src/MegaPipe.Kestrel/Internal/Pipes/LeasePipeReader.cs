// The connection's reader: data stays in the leases it arrived in. Keeps the contract of System.IO.Pipelines' own
// reader; tests/MegaPipe.Kestrel.Tests/Pipes runs one suite against both.
//
// Two sides: the carrier appends (LeasePipeReader.Receive.cs), the application reads. One uncontended lock between
// them; never held while user code runs, nor when the ring is entered, but for waking the channel once in a life.
using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.IO.Pipelines;
using System.Runtime.ExceptionServices;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;

namespace MegaPipe.Kestrel.Internal.Pipes;

internal sealed partial class LeasePipeReader : PipeReader
{
    /// <summary>What the application may call next; the standard pipe's rules.</summary>
    private enum ReadState
    {
        /// <summary>A read, not AdvanceTo.</summary>
        None,

        /// <summary>A result without promise (canceled, or none): both another read and AdvanceTo.</summary>
        Tentative,

        /// <summary>A result is out: only AdvanceTo.</summary>
        Reading,
    }

    private readonly Lock _sync = new();
    private readonly IPipeOwner _connection;
    private readonly TransportChannel _channel;
    private readonly PendingRead _pending;

    // The data, oldest first. Positions are counted from the connection's start.
    private ReceiveSegment? _head;
    private int _headOffset;
    private ReceiveSegment? _tail;
    private long _received;
    private long _consumed;
    private long _examined;

    private ReadState _state;
    private bool _canceled;
    private bool _completed;     // by the application
    private bool _ended;         // no more data will come
    private bool _fresh;         // data that no result has brought yet
    private bool _onChannel;     // a read of this connection has completed on its channel
    private ExceptionDispatchInfo? _error;
    private int _minimumBytes;   // of the pending ReadAtLeastAsync

    public LeasePipeReader(IPipeOwner connection, ContinuationCost cost, ChannelScheduling scheduling)
    {
        _connection = connection;
        _channel = connection.Channel;
        _pending = new PendingRead(this, cost, scheduling);
    }

    /// <summary>
    /// Received and not examined, in bytes: what back-pressure counts, as the standard pipe does. An application that
    /// examined everything and waits for more must get more.
    /// </summary>
    public long UnreadBytes
    {
        get
        {
            lock (_sync)
            {
                return _received - _examined;
            }
        }
    }

    /// <summary>Something has arrived that the application has not been given.</summary>
    public bool HasFresh
    {
        get
        {
            lock (_sync)
            {
                return _fresh && !_completed;
            }
        }
    }

    public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) =>
        ReadAsync(0, cancellationToken);

    protected override ValueTask<ReadResult> ReadAtLeastAsyncCore(
        int minimumSize, CancellationToken cancellationToken) => ReadAsync(minimumSize, cancellationToken);

    private ValueTask<ReadResult> ReadAsync(int minimumBytes, CancellationToken cancellationToken)
    {
        bool onChannel = false;
        lock (_sync)
        {
            ThrowIfCompleted();
            if (cancellationToken.IsCancellationRequested)
            {
                return ValueTask.FromCanceled<ReadResult>(cancellationToken);
            }

            if (_pending.IsPending)
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
            _pending.Begin(cancellationToken);
            if (onChannel)
            {
                _pending.TryRelease();
            }
        }

        if (minimumBytes > 0 && _connection.ShouldResumeReading(0))
        {
            _connection.Ask(ConnectionAsks.ResumeReceiving);
        }

        if (onChannel)
        {
            _connection.Ask(ConnectionAsks.ResumeRead);
        }

        return _pending.Await();
    }

    public override bool TryRead(out ReadResult result)
    {
        lock (_sync)
        {
            ThrowIfCompleted();
            if (_pending.IsPending)
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
        lock (_sync)
        {
            ThrowIfCompleted();
            if (_state == ReadState.None)
            {
                throw new InvalidOperationException("No reading operation to complete.");
            }

            ReceiveSegment? consumedSegment = (ReceiveSegment?)consumed.GetObject();
            long consumedTo = consumedSegment is null
                ? _consumed
                : consumedSegment.RunningIndex + consumed.GetInteger();
            long examinedTo = examined.GetObject() is ReceiveSegment examinedSegment
                ? examinedSegment.RunningIndex + examined.GetInteger()
                : _examined;
            if ((examinedTo < consumedTo && examined.GetObject() is not null) || consumedTo < _consumed ||
                consumedTo > _received || examinedTo > _received)
            {
                throw new InvalidOperationException(
                    "The examined position must be greater than or equal to the consumed position.");
            }

            _state = ReadState.None;
            _examined = examinedTo;
            returned = Consume(consumedSegment, consumedTo, out returnedEnd);
            resume = _connection.ShouldResumeReading(_received - _examined);
            if (_head is not null && _channel.Leases.IsScarce)
            {
                // Cut apart first: what was consumed and what is copied are two lists from here on.
                Detach(returned, returnedEnd);
                returnedEnd = null;
                copied = CopyOut();
            }
        }

        Return(copied, null);
        Return(returned, returnedEnd);
        if (resume)
        {
            _connection.Ask(ConnectionAsks.ResumeReceiving);
        }
    }

    public override void CancelPendingRead()
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
        ReceiveSegment? returned;
        bool resume;
        lock (_sync)
        {
            if (_completed)
            {
                return;
            }

            _completed = true;
            _state = ReadState.None;
            returned = _head;
            _head = _tail = null;
            _consumed = _examined = _received;
            resume = _connection.ShouldResumeReading(0);
        }

        Return(returned, null);
        _connection.OnInputCompleted(resume);
    }

    /// <summary>Whether a read would complete now.</summary>
    private bool HasResult =>
        (_received > _examined && _received - _consumed >= _minimumBytes) || _ended || _canceled;

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
        ReadOnlySequence<byte> data = _head is null
            ? default
            : new ReadOnlySequence<byte>(_head, _headOffset, _tail!, _tail!.Length);
        return new ReadResult(data, canceled, _ended);
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
        int offset = (int)(consumedTo - segment.RunningIndex);
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

    /// <summary>Ends the list that begins with <paramref name="first"/> before <paramref name="end"/>.</summary>
    private static void Detach(ReceiveSegment? first, ReceiveSegment? end)
    {
        for (ReceiveSegment? at = first; at is not null; at = at.NextSegment)
        {
            if (ReferenceEquals(at.Next, end))
            {
                at.UnlinkNext();
                return;
            }
        }
    }

    private static void Return(ReceiveSegment? segment, ReceiveSegment? end)
    {
        while (segment is not null && !ReferenceEquals(segment, end))
        {
            ReceiveSegment? next = segment.NextSegment;
            segment.Return();
            segment = next;
        }
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
}
