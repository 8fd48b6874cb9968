// One sequence of calls, made to the reader of a standard Pipe and to ours; every outcome is compared.
using System.Buffers;
using System.IO.Pipelines;
using CsCheck;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Pipes.Differential;

/// <summary>What may happen to a reader.</summary>
internal enum ReaderCall
{
    Feed,
    Read,
    ReadAtLeast,
    TryRead,
    Advance,
    AdvanceOne,
    AdvanceAnyhow,
    AdvanceDefault,
    CancelPendingRead,
    CancelToken,
    EndFeed,
    FaultFeed,
    Complete,
}

/// <summary>A call with its arguments; what they mean depends on the call.</summary>
internal sealed record ReaderStep(
    ReaderCall Call, int Size, int Consumed, int Examined, TokenKind Token, bool Elsewhere)
{
    public static Gen<ReaderStep[]> Sequences { get; } = Gen.Select(
        Gen.Frequency(
            (8, Gen.Const(ReaderCall.Feed)),
            (8, Gen.Const(ReaderCall.Read)),
            (3, Gen.Const(ReaderCall.ReadAtLeast)),
            (2, Gen.Const(ReaderCall.TryRead)),
            (8, Gen.Const(ReaderCall.Advance)),
            (2, Gen.Const(ReaderCall.AdvanceOne)),
            (1, Gen.Const(ReaderCall.AdvanceAnyhow)),
            (1, Gen.Const(ReaderCall.AdvanceDefault)),
            (2, Gen.Const(ReaderCall.CancelPendingRead)),
            (2, Gen.Const(ReaderCall.CancelToken)),
            (1, Gen.Const(ReaderCall.EndFeed)),
            (1, Gen.Const(ReaderCall.FaultFeed)),
            (1, Gen.Const(ReaderCall.Complete))),
        Sizes.Gen,
        Gen.Int[0, 4],
        Gen.Int[0, 4],
        Gen.Frequency(
            (6, Gen.Const(TokenKind.None)), (3, Gen.Const(TokenKind.Live)), (1, Gen.Const(TokenKind.Canceled))),
        Gen.Int[0, 5],
        (call, size, consumed, examined, token, elsewhere) =>
            new ReaderStep(call, size, consumed, examined, token, elsewhere == 5)).Array[1, 30];
}

/// <summary>Sizes of data: mostly around what blocks and buffers hold, now and then far more.</summary>
internal static class Sizes
{
    public static Gen<int> Gen { get; } = CsCheck.Gen.Frequency(
        (6, CsCheck.Gen.Int[0, 20]),
        (4, CsCheck.Gen.Int[0, 2_000]),
        (3, CsCheck.Gen.Int[4_000, 9_000]),
        (1, CsCheck.Gen.Int[0, 300_000]));
}

internal sealed class ReaderRun : StepRun
{
    private readonly StepChannel _channel;
    private readonly TrackingMemoryPoolFactory _memory = new();
    private readonly StepOwner _owner;
    private readonly LeasePipeReader _subject;
    private readonly Pipe _pipe = new(new PipeOptions(
        pauseWriterThreshold: 0, readerScheduler: PipeScheduler.Inline, writerScheduler: PipeScheduler.Inline,
        useSynchronizationContext: false));
    private CallPair<ReadResult>? _pending;
    private int _pendingMinimum;
    private (ReadOnlySequence<byte> Reference, ReadOnlySequence<byte> Subject)? _result;
    private long _received, _consumed, _examined;
    private bool _ended, _completed;

    // The standard pipe waits for a new byte: it has been told that all were examined, or has begun a
    // ReadAtLeastAsync that was more than there was.
    private bool _unsignaled = true;
    private bool _reading;

    // A ReadAtLeastAsync that waits, and its failure, forbid AdvanceTo at the standard pipe or not: it depends on
    // whether the bytes that were there had been signaled.
    private bool _eitherWay;

    private ReaderRun(StepChannel channel)
        : base(channel)
    {
        _channel = channel;
        _owner = new StepOwner(channel, _memory);
        _subject = new LeasePipeReader(
            _owner, new ContinuationCost(), channel.Scheduling, pauseAt: long.MaxValue);
    }

    private PipeReader Reference => _pipe.Reader;

    /// <summary>Makes the calls; throws at the first difference, with everything done until then.</summary>
    public static void Run(StepChannel channel, ReaderStep[] steps)
    {
        ReaderRun run = new(channel);
        run.MakeAll(steps, run.Make);
    }

    protected override void Clear()
    {
        _subject.Complete();
        _subject.End(null);
        _channel.Turn();
    }

    private void Make(ReaderStep step)
    {
        switch (step.Call)
        {
            case ReaderCall.Feed:
                Feed(step.Size);
                break;
            case ReaderCall.Read:
                Read(0, step);
                break;
            case ReaderCall.ReadAtLeast:
                Read(step.Size, step);
                break;
            case ReaderCall.TryRead:
                TryRead();
                break;
            case ReaderCall.CancelPendingRead:
                Both(Reference.CancelPendingRead, _subject.CancelPendingRead);
                break;
            case ReaderCall.CancelToken:
                CancelToken();
                break;
            case ReaderCall.EndFeed:
                EndFeed(null);
                break;
            case ReaderCall.FaultFeed:
                EndFeed(new InvalidDataException());
                break;
            case ReaderCall.Complete:
                Complete();
                break;
            default:
                Advance(step);
                break;
        }
    }

    private void Feed(int size)
    {
        byte[] bytes = Client.Pattern(size, (int)_received);
        for (int at = 0; at < size && !_ended; at += _channel.BufferBytes)
        {
            ReadOnlyMemory<byte> piece = bytes.AsMemory(at, Math.Min(_channel.BufferBytes, size - at));
            bool readerGone = _pipe.Writer.WriteAsync(piece).AsTask().GetAwaiter().GetResult().IsCompleted;
            ((IReceiver)_subject).OnRead(in _channel.Receive(piece.Span));
            Equal(readerGone, _owner.ReadingStopped, "the reader does not read any more");
            if (readerGone)
            {
                EndFeed(null); // as both transports do
                return;
            }

            _received += piece.Length;
            _unsignaled &= _pendingMinimum > _received - _examined;
            if (_pending is not { Loose: true })
            {
                Settle();
            }
        }
    }

    private void EndFeed(Exception? error)
    {
        if (!_ended)
        {
            _ended = true;
            _pipe.Writer.Complete(error);
            _subject.End(error);
        }
    }

    private void Complete()
    {
        // What was pending then comes to its end later, with whatever the stream's end says.
        if (_pending is not null)
        {
            _pending.Loose = true;
        }

        _completed = true;
        _result = null;
        Both(() => Reference.Complete(), () => _subject.Complete());
    }

    private void Read(int minimum, ReaderStep step)
    {
        CancellationToken token = Token(step.Token);
        if (_pending is not null && step.Token != TokenKind.Canceled && !_completed)
        {
            // The standard pipe lets both reads go on, and ends the writer with an error when both are awaited. Ours
            // refuses the second and leaves the first alone.
            Equal(nameof(InvalidOperationException), Outcome.Of(
                Outcome.Of(() => Start(_subject, minimum, token), step.Elsewhere), Outcome.Describe), "second read");
            return;
        }

        Task<ReadResult> reference = Outcome.Of(() => StartReference(minimum, step.Token, token), step.Elsewhere);
        Task<ReadResult> subject = Outcome.Of(() => Start(_subject, minimum, token), step.Elsewhere);
        CallPair<ReadResult> pair = new(reference, subject, loose: false);
        if (_pending is not null)
        {
            Compare(pair); // refused at once, at both
            return;
        }

        _pending = pair;
        _pendingMinimum = reference.IsCompleted ? 0 : Math.Max(0, minimum - (int)(_examined - _consumed));
        _unsignaled |= minimum > 0 && !reference.IsCompleted;
        _eitherWay |= minimum > 0 && !reference.IsCompleted;
    }

    private static ValueTask<ReadResult> Start(PipeReader reader, int minimum, CancellationToken token) =>
        minimum > 0 ? reader.ReadAtLeastAsync(minimum, token) : reader.ReadAsync(token);

    /// <summary>
    /// Two things the standard pipe does otherwise than its documentation says, and ours as documented. Its
    /// ReadAtLeastAsync does not count bytes that were examined before. And after a cancelled one, or when AdvanceTo
    /// takes "examined" back, reads wait for a new byte although there are unexamined ones: its TryRead gives them.
    /// </summary>
    private ValueTask<ReadResult> StartReference(int minimum, TokenKind kind, CancellationToken token)
    {
        if (_unsignaled && kind != TokenKind.Canceled && !_completed && !_ended && _received > _examined &&
            (_reading || _received - _consumed >= minimum) && Reference.TryRead(out ReadResult result))
        {
            return new ValueTask<ReadResult>(result);
        }

        int held = (int)(_examined - _consumed);
        return minimum == 0 ? Reference.ReadAsync(token)
            : Reference.ReadAtLeastAsync(Math.Max(0, minimum - held), token);
    }

    private void TryRead()
    {
        if (_pending is not null && _received > _examined)
        {
            // The standard pipe takes the data away from under a ReadAtLeastAsync; ours refuses, as without data.
            Equal(
                _completed || _ended || _pendingMinimum == 0 ? "" : nameof(InvalidOperationException),
                _completed || _ended || _pendingMinimum == 0 ? "" : Outcome.Of(() => { _subject.TryRead(out _); }),
                "TryRead beside a read");
            return;
        }

        ReadResult reference = default, subject = default;
        bool any = false;
        string expected = Outcome.Of(() => { any = Reference.TryRead(out reference); });
        bool anyOfSubject = false;
        string actual = Outcome.Of(() => { anyOfSubject = _subject.TryRead(out subject); });
        Equal(expected, actual, "TryRead");
        Equal(any, anyOfSubject, "TryRead's answer");
        if (any)
        {
            Equal(Outcome.Describe(reference), Outcome.Describe(subject), "TryRead's result");
            _result = (reference.Buffer, subject.Buffer);
            _reading = !reference.IsCanceled;
            _eitherWay = false;
        }
    }

    private void Advance(ReaderStep step)
    {
        string expected, actual;
        if (_eitherWay)
        {
            return;
        }

        if (_result is not var (reference, subject) || step.Call == ReaderCall.AdvanceDefault)
        {
            expected = Outcome.Of(() => Reference.AdvanceTo(default));
            actual = Outcome.Of(() => _subject.AdvanceTo(default));
            Equal(expected, actual, "AdvanceTo(default)");
            if (expected == "done")
            {
                _result = null;
                _reading = false;
            }

            return;
        }

        long length = reference.Length;
        long consumed = length * step.Consumed / 4;
        long examined = length * step.Examined / 4;
        if (step.Call == ReaderCall.Advance)
        {
            examined = Math.Max(examined, consumed);
        }

        if (step.Call == ReaderCall.AdvanceOne)
        {
            examined = consumed;
        }

        if (_pending is not null && _consumed + examined < _examined)
        {
            return; // beside a read, "examined" taken back: see StartReference
        }

        if (step.Call == ReaderCall.AdvanceOne)
        {
            expected = Outcome.Of(() => Reference.AdvanceTo(reference.GetPosition(consumed)));
            actual = Outcome.Of(() => _subject.AdvanceTo(subject.GetPosition(consumed)));
        }
        else
        {
            expected = Outcome.Of(
                () => Reference.AdvanceTo(reference.GetPosition(consumed), reference.GetPosition(examined)));
            actual = Outcome.Of(
                () => _subject.AdvanceTo(subject.GetPosition(consumed), subject.GetPosition(examined)));
        }

        Equal(expected, actual, $"AdvanceTo({consumed}, {examined}) of {length}");
        if (expected == "done")
        {
            _result = null;
            _reading = false;
            _examined = _consumed + examined;
            _consumed += consumed;
            _unsignaled |= _examined == _received && !_ended;
        }
    }

    /// <summary>Lets everything happen that the last call has caused, and compares what is over now.</summary>
    protected override void Settle()
    {
        _channel.Turn();
        if ((_owner.Asked & ConnectionAsks.CompleteRead) != 0)
        {
            _owner.Asked = ConnectionAsks.None;
            _subject.CompleteHere();
            _channel.Turn();
        }

        if (_pending is not null && _pending.Reference.IsCompleted)
        {
            CallPair<ReadResult> pair = _pending;
            _pending = null;
            _pendingMinimum = 0;
            Compare(pair);
        }
        else if (_pending is { Loose: false })
        {
            Equal(false, _pending.Subject.IsCompleted, "the reference is still pending; the subject");
        }
    }

    private void Compare(CallPair<ReadResult> pair)
    {
        // On the pool or here, whichever the subject likes.
        string expected = Outcome.Of(pair.Reference, Outcome.Describe);
        if (pair.Loose)
        {
            string loose = Outcome.Of(pair.Subject, Outcome.Describe);
            Equal(pair.Reference.IsCompletedSuccessfully, pair.Subject.IsCompletedSuccessfully,
                $"{expected} against {loose}: a read that was pending at Complete; it succeeds");
            return;
        }

        Equal(expected, Outcome.Of(pair.Subject, Outcome.Describe), "read");
        if (pair.Reference.IsCompletedSuccessfully)
        {
            _result = (pair.Reference.Result.Buffer, pair.Subject.Result.Buffer);
            _reading = !pair.Reference.Result.IsCanceled;
            _eitherWay = false;
        }
    }

    /// <summary>Ends both, and sees that nothing is left: no byte, no lease, no block of memory.</summary>
    protected override void Finish()
    {
        EndFeed(null);
        Settle();
        Equal(null, _pending, "a read that is still pending at the end");
        if (!_completed)
        {
            Read(0, new ReaderStep(ReaderCall.Read, 0, 0, 0, TokenKind.None, Elsewhere: false));
            Settle();
            Complete();
            Settle();
        }

        _channel.Turn();
        Equal(0UL, _channel.LeasesOut, "leases out");
        Equal(0, _memory.BlocksOut, "blocks of memory out");
    }
}
