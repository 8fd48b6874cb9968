// From one channel to another, in the middle of its life (docs/ARCHITECTURE.md, section 4).
//
//   asked                       →  its read is canceled, when nothing of it is under way         (TryBeginMove)
//   the read's last event       →  still nothing: its handle goes to the other ring              (TryDepart)
//   arrival on the other ring   →  it lives there, and reading goes on                           (Arrive)
//   the kernel could not        →  it stays where it was, and reading goes on                    (TakeBack)
//
// Between TryDepart and what follows it no carrier has the connection: what threads ask of it waits in the word of its
// asks, whose bit Away keeps them from posting it.
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Internal.Connections;

internal sealed partial class MegaPipeConnection
{
    /// <summary>
    /// Moments at which it may turn out to be at work before nobody asks it any longer: who is never idle stays.
    /// </summary>
    private const int MostTries = 8;

    // The carrier's.
    private bool _movable; // accepted here: others are where the code that made them lives
    private bool _readStopped;
    private int _moveTries;

    private TransportChannel? _moveTo;
    private long _movedAtMs = long.MinValue / 2;

    /// <summary>When it has come to its channel from another one; of Environment.TickCount64. Any thread.</summary>
    public long MovedAtMs => Volatile.Read(ref _movedAtMs);

    /// <summary>
    /// Any thread: the connection is to live on <paramref name="target"/>, another channel of its host, as soon as
    /// nothing of it is under way. Where that does not come about, it stays, and nobody is told.
    /// </summary>
    public void AskToMove(TransportChannel target)
    {
        Volatile.Write(ref _moveTo, target);
        Ask(ConnectionAsks.Move);
    }

    /// <summary>
    /// The application waits for data, no write is in flight, nobody has begun to end the connection, and it has one
    /// descriptor, which the channel knows. Nobody looks for what is flushed and not sent: who flushes asks for it, and
    /// TryDepart sees that, or it is sent where the connection arrives.
    /// </summary>
    private bool IsIdle =>
        !_sending && !_closing && !_finishAsked && !_endUntold && !_endTold && _socket is null &&
        Volatile.Read(ref _install) is null && EndReason is null && _input.IsAwaitedInVain;

    /// <summary>Whether the connection lives on a channel that the calling thread has entered the ring of.</summary>
    private bool IsOn(TransportChannel channel)
    {
        // In this order: who sees it no longer away sees where it has come to.
        bool away = (Volatile.Read(ref _asks) & (int)ConnectionAsks.Away) != 0;
        return !away && ReferenceEquals(Channel, channel);
    }

    private void PerformMove()
    {
        if (_readStopped)
        {
            OnReadStopped(); // the kernel had something of it in hand, and has had a turn since
            return;
        }

        _moveTries = 0;
        TryBeginMove();
    }

    /// <summary>The carrier, when it is asked and after each write.</summary>
    private void TryBeginMove()
    {
        if (_moveTo is null || _input.Pressure.Flow == ReadFlow.Moving)
        {
            return;
        }

        if (!_movable || _moveTries++ >= MostTries || IsAboutToAsk(_endpoint) || ReferenceEquals(_moveTo, Channel))
        {
            _moveTo = null;
            return;
        }

        if (IsIdle && _input.Pressure.TryMove())
        {
            // Where the read has just ended by itself there is nothing to cancel, and its event is on its way.
            _ = Channel.Native.ReadPause(Handle);
        }
    }

    /// <summary>
    /// The carrier: no read is armed. What has arrived until now the application has or will get before anything else,
    /// what comes later stays in the socket, for the read that is armed next, here or elsewhere.
    /// </summary>
    private void OnReadStopped()
    {
        _readStopped = false;
        if (_input.Pressure.Flow != ReadFlow.Moving)
        {
            return; // it has been closed meanwhile
        }

        int error = ChannelError.Canceled;
        if (Volatile.Read(ref _moveTo) is { } target && _moveTries <= MostTries && IsIdle)
        {
            error = TryDepart(target);
            if (error == 0)
            {
                return; // from here on it is the other carrier's
            }
        }

        if (error == ChannelError.Busy)
        {
            // The answer to the cancel is still to come, or the other ring takes no more for the moment.
            _moveTries++;
            _readStopped = true;
            Settle();
            Ask(ConnectionAsks.Move);
        }
        else if (error == ChannelError.Canceled)
        {
            GoOnReading();
        }
        else
        {
            TakeBack();
        }
    }

    /// <summary>
    /// The carrier: 0 when the connection is on its way and nobody here may touch it any more. Canceled: it is not to
    /// go. Otherwise a negative errno, and what was asked meanwhile is still to be done (<see cref="Settle"/>).
    /// </summary>
    private int TryDepart(TransportChannel target)
    {
        TransportChannel from = Channel;
        long handle = Handle;
        if (!target.Arrivals.TryExpect())
        {
            return ChannelError.Canceled;
        }

        Journey journey = new(this, from, target, handle);
        if (Interlocked.CompareExchange(ref _asks, (int)ConnectionAsks.Away, 0) != 0)
        {
            journey.Forget(); // somebody has just asked for something: it is not idle
            return ChannelError.Canceled;
        }

        from.Replace(this, journey, journey);
        Count(-1);
        from.MovedOutCount++;
        int error = from.Native.Transfer(handle, target.Native, journey.Number);
        if (error < 0)
        {
            journey.Cancel();
            return error;
        }

        from.Native.Flush(); // whoever waits for it there does not wait for what runs here
        return 0;
    }

    /// <summary>The carrier of the channel that it has left: the kernel did not take it, so it stays.</summary>
    private void StayOn(TransportChannel channel, Journey journey)
    {
        channel.Replace(journey, this, _input);
        Count(1);
        channel.MovedOutCount--;
    }

    /// <summary>The carrier of the channel that it has left and that has it again.</summary>
    private void TakeBack()
    {
        _moveTo = null;
        GoOnReading();
        Settle();
    }

    /// <summary>The carrier of the channel that it comes to.</summary>
    private void Arrive(TransportChannel channel, long handle)
    {
        Channel = channel;
        _cost.MoveTo(channel);
        _input.MoveTo(channel);
        _output.MoveTo(channel);
        _counts = _endpoint.Meter.On(channel.Index);
        _moveTo = null;
        Volatile.Write(ref _movedAtMs, Environment.TickCount64);
        if (handle < 0)
        {
            EndWithoutHandle(new ConnectionResetException(
                ChannelError.Text((int)handle), ChannelError.ToException((int)handle, "Moving a connection")));
        }
        else
        {
            Handle = handle;
            channel.MovedInCount++;
            channel.Add(this, _input);
            Count(1);
            GoOnReading();
        }

        Settle();
    }

    /// <summary>
    /// The carrier that has it now: does what was asked while nobody had it. Only for who finds Away in the word: else
    /// somebody may be about to post the connection, and it could leave before he does.
    /// </summary>
    private void Settle() => Perform((ConnectionAsks)Interlocked.Exchange(ref _asks, 0) & ~ConnectionAsks.Away);

    /// <summary>
    /// The connection on its way: the owner of its old handle until the kernel says that it is gone, and who takes what
    /// arrives on the other side. Each side calls it on its own carrier.
    /// </summary>
    private sealed class Journey : IHandleOwner, IReceiver
    {
        private readonly MegaPipeConnection _connection;
        private readonly TransportChannel _from;
        private readonly TransportChannel _to;

        public Journey(MegaPipeConnection connection, TransportChannel from, TransportChannel to, long handle)
        {
            _connection = connection;
            _from = from;
            _to = to;
            Handle = handle;
            Number = to.Arrivals.Number(this);
        }

        public long Handle { get; }

        /// <summary>By which the target knows it.</summary>
        public ulong Number { get; }

        /// <summary>The old side: it was not sent.</summary>
        public void Cancel()
        {
            Forget();
            _connection.StayOn(_from, this);
        }

        /// <summary>It does not come to be.</summary>
        public void Forget()
        {
            _to.Arrivals.Release(Number);
            _to.Arrivals.Forget();
        }

        public void OnEvent(in ChannelEvent channelEvent)
        {
            if (channelEvent.Stage == Stage.Accept)
            {
                _to.Arrivals.Release(Number);
                _connection.Arrive(_to, channelEvent.Result < 0 ? channelEvent.Result : channelEvent.Handle);
            }
            else if (channelEvent.Stage == Stage.Close && channelEvent.IsGiven && !channelEvent.IsRetired)
            {
                Cancel();
                _connection.TakeBack();
            }
        }

        /// <summary>An end that was noticed too late for here: the next read finds it again.</summary>
        public void OnRead(in ChannelEvent channelEvent)
        {
        }

        public void Fail(Exception error) => _connection.Fail(error);
    }
}
