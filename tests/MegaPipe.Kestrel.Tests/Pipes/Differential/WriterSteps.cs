// One sequence of calls, made to the writer of a standard Pipe and to ours; every outcome and every byte is compared.
using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.InteropServices;
using CsCheck;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Tests.Pipes.Differential;

/// <summary>What may happen to a writer.</summary>
internal enum WriterCall
{
    GetMemory,
    GetSpan,
    GetNegative,
    Advance,
    AdvanceTooFar,
    AdvanceNegative,
    Write,
    Flush,
    CancelPendingFlush,
    CancelToken,
    BeginSend,
    EndSend,
    EndDrain,
    Release,
    Complete,
}

/// <summary>A call with its arguments; what they mean depends on the call.</summary>
internal sealed record WriterStep(WriterCall Call, int Size, int Part, TokenKind Token, bool Elsewhere)
{
    public static Gen<WriterStep[]> Sequences { get; } = Gen.Select(
        Gen.Frequency(
            (5, Gen.Const(WriterCall.GetMemory)),
            (3, Gen.Const(WriterCall.GetSpan)),
            (1, Gen.Const(WriterCall.GetNegative)),
            (8, Gen.Const(WriterCall.Advance)),
            (1, Gen.Const(WriterCall.AdvanceTooFar)),
            (1, Gen.Const(WriterCall.AdvanceNegative)),
            (6, Gen.Const(WriterCall.Write)),
            (6, Gen.Const(WriterCall.Flush)),
            (2, Gen.Const(WriterCall.CancelPendingFlush)),
            (2, Gen.Const(WriterCall.CancelToken)),
            (8, Gen.Const(WriterCall.BeginSend)),
            (8, Gen.Const(WriterCall.EndSend)),
            (1, Gen.Const(WriterCall.EndDrain)),
            (5, Gen.Const(WriterCall.Release)),
            (1, Gen.Const(WriterCall.Complete))),
        Sizes.Gen,
        Gen.Int[0, 4],
        Gen.Frequency(
            (6, Gen.Const(TokenKind.None)), (3, Gen.Const(TokenKind.Live)), (1, Gen.Const(TokenKind.Canceled))),
        Gen.Int[0, 5],
        (call, size, part, token, elsewhere) => new WriterStep(call, size, part, token, elsewhere == 5)).Array[1, 40];
}

internal sealed class WriterRun : StepRun
{
    private readonly StepChannel _channel;
    private readonly TrackingMemoryPoolFactory _memory = new();
    private readonly StepOwner _owner;
    private readonly CoalescingPipeWriter _subject;
    private readonly Pipe _pipe;
    private readonly List<(nint Address, byte[] Bytes)> _inFlight = [];
    private readonly List<(HeldWrite Write, (nint Address, byte[] Bytes)[] Pieces)> _held = [];
    private HeldWrite? _hold;
    private CallPair<FlushResult>? _pending;
    private int _written, _room, _sending;
    private bool _writing, _completed, _drainEnded;

    private WriterRun(StepChannel channel, long limit, int zeroCopyFrom)
        : base(channel)
    {
        _channel = channel;
        _owner = new StepOwner(channel, _memory);
        _subject = new CoalescingPipeWriter(
            _owner, new ContinuationCost(), limit == 0 ? long.MaxValue : limit, zeroCopyFrom);
        // As the stock transport makes its output pipe.
        _pipe = new Pipe(new PipeOptions(
            new TrackingMemoryPoolFactory().Create(), PipeScheduler.Inline, PipeScheduler.Inline,
            pauseWriterThreshold: limit, resumeWriterThreshold: limit / 2, useSynchronizationContext: false));
    }

    private PipeWriter Reference => _pipe.Writer;

    /// <summary>Makes the calls; throws at the first difference, with everything done until then.</summary>
    public static void Run(
        StepChannel channel, long limit, WriterStep[] steps, int zeroCopyFrom = int.MaxValue)
    {
        WriterRun run = new(channel, limit, zeroCopyFrom);
        run.MakeAll(steps, run.Make);
    }

    private void Make(WriterStep step)
    {
        switch (step.Call)
        {
            case WriterCall.GetMemory:
                Get(step.Size, span: false);
                break;
            case WriterCall.GetSpan:
                Get(step.Size, span: true);
                break;
            case WriterCall.GetNegative:
                Both(() => Reference.GetMemory(-1), () => _subject.GetMemory(-1));
                break;
            case WriterCall.Advance:
                Advance((int)((long)_room * step.Part / 4));
                break;
            case WriterCall.AdvanceTooFar:
                Advance(1 << 30);
                break;
            case WriterCall.AdvanceNegative:
                Advance(-1);
                break;
            case WriterCall.Write:
                byte[] bytes = Client.Pattern(step.Size, ++_written);
                Flush(step, (writer, token) => writer.WriteAsync(bytes, token));
                break;
            case WriterCall.Flush:
                Flush(step, (writer, token) => writer.FlushAsync(token));
                break;
            case WriterCall.CancelPendingFlush:
                Both(Reference.CancelPendingFlush, _subject.CancelPendingFlush);
                break;
            case WriterCall.CancelToken:
                CancelToken();
                break;
            case WriterCall.BeginSend:
                BeginSend();
                break;
            case WriterCall.EndSend:
                EndSend(step.Part, kept: step.Size % 4 != 0);
                break;
            case WriterCall.Release:
                Release(step.Size);
                break;
            case WriterCall.EndDrain:
                EndDrain();
                break;
            default:
                _completed = true;
                _writing = false;
                _room = 0;
                Both(() => Reference.Complete(), () => _subject.Complete());
                break;
        }
    }

    private void Get(int size, bool span)
    {
        Memory<byte> expected = default, actual = default;
        Both(
            () => expected = Reference.GetMemory(size),
            () =>
            {
                actual = _subject.GetMemory(size);
                Equal(true, !span || _subject.GetSpan(size) == actual.Span, "the span is the memory");
            });
        if (_completed)
        {
            return;
        }

        _writing = true;
        Equal(true, expected.Length >= Math.Max(1, size) && actual.Length >= Math.Max(1, size), "room is enough");
        _room = Math.Min(expected.Length, actual.Length);
        byte[] bytes = Client.Pattern(_room, ++_written);
        bytes.CopyTo(expected);
        bytes.CopyTo(actual);
    }

    private void Advance(int bytes)
    {
        Both(() => Reference.Advance(bytes), () => _subject.Advance(bytes));
        if (bytes >= 0 && bytes <= _room)
        {
            _room -= bytes;
        }
    }

    private void Flush(WriterStep step, Func<PipeWriter, CancellationToken, ValueTask<FlushResult>> call)
    {
        CancellationToken token = Token(step.Token);
        if (_pending is not null && step.Token != TokenKind.Canceled && !(_completed && step.Call == WriterCall.Write))
        {
            // The standard pipe lets both flushes go on, and ends the reader with an error when both are awaited. Ours
            // refuses the second and leaves the first alone.
            if (step.Call == WriterCall.Flush)
            {
                Equal(nameof(InvalidOperationException), Outcome.Of(
                    Outcome.Of(() => call(_subject, token), step.Elsewhere), Outcome.Describe), "second flush");
            }

            return;
        }

        CallPair<FlushResult> pair = new(
            Outcome.Of(() => call(Reference, token), step.Elsewhere),
            Outcome.Of(() => call(_subject, token), step.Elsewhere), loose: false);
        if (_pending is not null)
        {
            Compare(pair);
            return;
        }

        _pending = pair;
        if (step.Token != TokenKind.Canceled)
        {
            _writing = false;
            _room = 0;
        }
    }

    /// <summary>The kernel gets what was flushed: the memory is its own until the write has ended.</summary>
    private void BeginSend()
    {
        if (_sending > 0 || _drainEnded)
        {
            return;
        }

        _sending = _subject.TakeWrite(_channel.Carried, out nint address, out IoVectorArray? vectors, out _hold);
        Equal(Unread().Length > 0, _sending > 0, "something to send");
        if (_sending == 0)
        {
            return;
        }

        if (vectors is null)
        {
            Keep(address, _sending);
        }
        else
        {
            foreach (IoVector vector in vectors.Vectors)
            {
                Keep(vector.Address, (int)vector.Bytes);
            }

            _channel.Carried.ReturnVectors(vectors);
        }

        byte[] taken = [.. _inFlight.SelectMany(piece => piece.Bytes)];
        Equal(_sending, taken.Length, "bytes given to the kernel");
        Equal(true, taken.AsSpan().SequenceEqual(Unread().AsSpan(0, taken.Length)), "they are what was flushed first");
    }

    private void Keep(nint address, int bytes)
    {
        byte[] copy = new byte[bytes];
        Marshal.Copy(address, copy, 0, bytes);
        _inFlight.Add((address, copy));
    }

    private void CheckUntouched(IEnumerable<(nint Address, byte[] Bytes)> pieces)
    {
        foreach ((nint address, byte[] bytes) in pieces)
        {
            byte[] now = new byte[bytes.Length];
            Marshal.Copy(address, now, 0, now.Length);
            Equal(true, bytes.AsSpan().SequenceEqual(now), "nobody has touched the memory of the kernel");
        }
    }

    /// <summary>The kernel keeps what it sends without a copy, or has copied it.</summary>
    private void SettleHold(bool kept)
    {
        if (_hold is { } hold && kept)
        {
            _subject.Keep(hold);
            _held.Add((hold, [.. _inFlight]));
        }
        else if (_hold is not null)
        {
            _channel.Carried.Holds.End(_hold, copied: false);
        }

        _hold = null;
    }

    /// <summary>The kernel has done with one of the writes, in any order.</summary>
    private void Release(int choice)
    {
        if (_held.Count > 0)
        {
            int index = choice % _held.Count;
            CheckUntouched(_held[index].Pieces);
            HeldWrite write = _held[index].Write;
            _held.RemoveAt(index);
            _channel.Carried.Holds.End(write, copied: false);
            CheckIdle();
        }
    }

    private void EndSend(int part, bool kept)
    {
        if (_sending == 0)
        {
            return;
        }

        CheckUntouched(_inFlight);
        SettleHold(kept);
        int sent = Math.Max(1, (int)((long)_sending * part / 4));
        _inFlight.Clear();
        _sending = 0;
        Assert.True(_pipe.Reader.TryRead(out ReadResult result));
        _pipe.Reader.AdvanceTo(result.Buffer.GetPosition(sent));
        _subject.Sent(sent);
        CheckIdle();
    }

    private void EndDrain()
    {
        if (_drainEnded)
        {
            return;
        }

        _drainEnded = true;
        SettleHold(kept: true);
        _sending = 0;
        _inFlight.Clear();
        _pipe.Reader.Complete();
        _subject.Close();
    }

    /// <summary>An idle connection holds no memory.</summary>
    private void CheckIdle()
    {
        if (!_drainEnded && _held.Count == 0 && !_writing && _subject.IsDrained && _subject.UnflushedBytes == 0)
        {
            Equal(0, _memory.BlocksOut, "blocks of an idle writer");
        }
    }

    /// <summary>Lets everything happen that the last call has caused, and compares what is over now.</summary>
    protected override void Settle()
    {
        _channel.Turn();
        if (_pending is not null && _pending.Reference.IsCompleted)
        {
            CallPair<FlushResult> pair = _pending;
            _pending = null;
            Compare(pair);
        }
        else if (_pending is not null)
        {
            Equal(false, _pending.Subject.IsCompleted, "the reference is still pending; the subject");
        }

        Equal(Reference.UnflushedBytes, _subject.UnflushedBytes, "unflushed bytes");
    }

    private void Compare(CallPair<FlushResult> pair) => Equal(
        Outcome.Of(pair.Reference, Outcome.Describe), Outcome.Of(pair.Subject, Outcome.Describe), "flush");

    /// <summary>Sends the rest, and sees that every byte came and no memory is left.</summary>
    protected override void Finish()
    {
        Both(() => Reference.Complete(), () => _subject.Complete());
        while (!_drainEnded && (_sending > 0 || Unread().Length > 0))
        {
            EndSend(4, kept: false);
            Settle();
            BeginSend();
        }

        Equal(true, _drainEnded || _subject.IsDrained, "everything was sent");
        EndDrain();
        Settle();
        Equal(null, _pending, "a flush that is still pending at the end");
        while (_held.Count > 0)
        {
            Release(0);
        }

        Equal(0L, _channel.Carried.Holds.Bytes, "bytes held at the end");
        Equal(0, _memory.BlocksOut, "blocks of memory out");
    }

    /// <summary>What the standard pipe's reader has not taken yet.</summary>
    private byte[] Unread()
    {
        if (!_pipe.Reader.TryRead(out ReadResult result))
        {
            return [];
        }

        byte[] bytes = result.Buffer.ToArray();
        _pipe.Reader.AdvanceTo(result.Buffer.Start);
        return bytes;
    }
}
