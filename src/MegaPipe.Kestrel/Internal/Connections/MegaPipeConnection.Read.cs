// Stage read, but for the data itself, which goes to the reader: how reading starts, pauses and ends.
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Internal.Connections;

internal sealed partial class MegaPipeConnection
{
    /// <summary>
    /// How long an application that does not read what came before the FIN may be without notice of the FIN.
    /// </summary>
    private static readonly TimeSpan s_tellEndWithin = TimeSpan.FromMilliseconds(10);

    // The carrier's.
    private bool _resetNoted;
    private bool _endTold;

    // Written by the carrier, read by the application: it is to say when it has taken what came before the FIN.
    private volatile bool _endUntold;

    /// <summary>Any thread: the application has, or will not take, what had arrived.</summary>
    public void OnInputTaken()
    {
        if (_endUntold)
        {
            Ask(ConnectionAsks.TellEnd);
        }
    }

    private void StartReading()
    {
        _input.Pressure.Start();
        int error = _input.TakesOnePiece ? Channel.Native.ReadOne(Handle) : Channel.Native.ReadStart(Handle);
        if (error < 0)
        {
            EndReading(error);
        }
    }

    public void OnReadEnd(in ChannelEvent channelEvent)
    {
        int result = channelEvent.Result;
        if (channelEvent.IsHangUp)
        {
            OnHangUp(result);
            return;
        }

        if (result == 0 || result == ChannelError.Canceled)
        {
            switch (_input.Pressure.Stop(atEnd: result == 0))
            {
                case ReadFlow.Paused:
                    return;
                case ReadFlow.PausedAtEnd: // the FIN stays behind the data that the application has not read
                    TellEnd();
                    return;
                case ReadFlow.Moving when result != 0:
                    OnReadStopped();
                    return;
                case ReadFlow.Idle: // a resume came before the pause was complete, or a read of another kind is wanted
                    ReadOn();
                    return;
            }
        }

        EndReading(result);
    }

    /// <summary>
    /// The carrier: the peer has ended the connection while reading is paused. An application that reads slowly, or
    /// not at all, is told so now. After a FIN what the socket holds can still be read; a reset ends that, too.
    /// </summary>
    private void OnHangUp(int result)
    {
        if (_input.Pressure.Flow is not (ReadFlow.Paused or ReadFlow.PausedAtEnd))
        {
            return;
        }

        if (result == 0)
        {
            TellEnd();
        }
        else
        {
            EndReading(result);
        }
    }

    /// <summary>What still arrives stays in the socket, and the close knows of it (native/src/stage/close.c).</summary>
    public void StopReading()
    {
        if (_input.Pressure.Flow == ReadFlow.Flowing)
        {
            Channel.Native.ReadPause(Handle);
        }

        _input.End(null);
        TellEnd();
    }

    public void PauseReading()
    {
        Channel.PauseCount++;
        TransportLog.ConnectionPause(Logger, this);
        int error = Channel.Native.ReadPause(Handle);
        System.Diagnostics.Debug.Assert(error >= 0);
    }

    /// <summary>
    /// Where the read has just ended by itself there is nothing to cancel, and its event is on its way.
    /// </summary>
    public void RenewReading() => _ = Channel.Native.ReadPause(Handle);

    public void OnReadRests(bool more)
    {
        if (more)
        {
            Ask(ConnectionAsks.ReadOn); // what the application asks for in this turn comes first
        }
        else
        {
            ReadOn();
        }
    }

    private void ReadOnAfterTurn()
    {
        if (Channel.HasReady)
        {
            Ask(ConnectionAsks.ReadOn); // the application may not have had its turn
        }
        else
        {
            ReadOn();
        }
    }

    /// <summary>The carrier: arms a read, unless the application has enough, or asks for what there is.</summary>
    private void ReadOn()
    {
        if (_input.TryArm(out bool held))
        {
            GoOnReading();
        }
        else if (held)
        {
            Channel.PauseCount++;
            TransportLog.ConnectionPause(Logger, this);
        }
    }

    /// <summary>The carrier: what the socket holds goes to the application's memory.</summary>
    private void Receive()
    {
        bool open = !_closing && !_retired && _input.Pressure.Flow == ReadFlow.Idle;
        if (_input.TryTake(open, out nint address, out int bytes))
        {
            _input.Pressure.Start();
            Channel.ReceiveCount++;
            int error = Channel.Native.ReadNow(Handle, address, bytes);
            System.Diagnostics.Debug.Assert(error >= 0);
        }
        else if (open)
        {
            ReadOn();
        }
    }

    private void ResumeReading()
    {
        if (!_input.Pressure.TryResume())
        {
            return;
        }

        TransportLog.ConnectionResume(Logger, this);
        switch (_input.Pressure.Flow)
        {
            case ReadFlow.Idle:
                ReadOn();
                break;
            case ReadFlow.PausedAtEnd:
                EndReading(0);
                break;
        }
    }

    private void GoOnReading()
    {
        if (_input.IsCompleted)
        {
            StopReading();
        }
        else
        {
            StartReading();
        }
    }

    /// <summary>The carrier: reading is over; 0 is the peer's FIN.</summary>
    private void EndReading(int result)
    {
        if (_input.Pressure.Flow == ReadFlow.Ended)
        {
            return;
        }

        Exception? error = null;
        if (_shutdownReason is { } reason)
        {
            error = reason;
        }
        else if (result == 0)
        {
            TransportLog.ConnectionReadFin(Logger, this);
        }
        else if (IsReset(result))
        {
            NoteReset();
            error = ToResetException(result);
        }
        else
        {
            error = new SocketException((int)ChannelError.ToSocketError(result));
            TransportLog.ConnectionError(Logger, this, error);
        }

        _input.End(error);
        if (error is null && !_retired)
        {
            TellEndWhenTaken();
        }
        else
        {
            TellEnd();
        }
    }

    /// <summary>
    /// The carrier: what came before the FIN is the application's first, as far as that is a matter of moments. Kestrel
    /// closes the connection when it is told, and a client that asks and shuts down at once wants its answer.
    /// </summary>
    private void TellEndWhenTaken()
    {
        _endUntold = true;
        if (!_input.HasFresh)
        {
            TellEnd();
            return;
        }

        _ = TellLaterAsync();

        async Task TellLaterAsync()
        {
            await Task.Delay(s_tellEndWithin).ConfigureAwait(false);
            OnInputTaken();
        }
    }

    /// <summary>
    /// The carrier: ConnectionClosed fires, once; when the continuations of this turn have run, because Kestrel then
    /// closes the connection.
    /// </summary>
    private void TellEnd()
    {
        _endUntold = false;
        if (!_endTold)
        {
            _endTold = true;
            Channel.QueueAfterTurn(this); // the application first gets what came before the end, and can answer
        }
    }

    /// <summary>A reset may show while reading, while writing, or both: it is one.</summary>
    private void NoteReset()
    {
        if (!_resetNoted)
        {
            _resetNoted = true;
            Channel.ResetCount++;
            _counts.Resets++;
            TransportLog.ConnectionReset(Logger, this);
        }
    }

    private static bool IsReset(int result) =>
        result == ChannelError.ConnectionReset || result == ChannelError.BrokenPipe;

    private static ConnectionResetException ToResetException(int result)
    {
        SocketException inner = new((int)ChannelError.ToSocketError(result));
        return new ConnectionResetException(inner.Message, inner);
    }
}
