// Stage read: leased reads into the connection's reader, back-pressure by pausing them.
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Internal.Connections;

internal sealed partial class MegaPipeConnection
{
    private enum Receiving
    {
        Idle,
        Armed,
        Pausing,
        Paused,
        Ended,
    }

    // The carrier's.
    private Receiving _receiving;
    private bool _finBehindPause;
    private bool _resetNoted;

    /// <summary>
    /// How long an application that does not read what came before the FIN may be without notice of the FIN.
    /// </summary>
    private static readonly TimeSpan s_tellEndWithin = TimeSpan.FromMilliseconds(10);

    private bool _endTold;

    // Written by the carrier, read by the application: it is to say when it has taken what came before the FIN.
    private volatile bool _endUntold;

    // Written by the carrier; read by the application, to ask for a resume only when there is a pause.
    private volatile bool _receivingPaused;

    public bool ShouldResumeReading(long unread) => _receivingPaused && unread < _endpoint.ResumeReadBelow;

    public void OnInputCompleted(bool resume)
    {
        if (resume)
        {
            Ask(ConnectionAsks.ResumeReceiving);
        }

        OnInputTaken();
    }

    /// <summary>Any thread: the application has, or will not take, what had arrived.</summary>
    public void OnInputTaken()
    {
        if (_endUntold)
        {
            Ask(ConnectionAsks.TellEnd);
        }
    }

    private void StartReceiving()
    {
        int error = Channel.Native.ReadStart(Handle);
        if (error < 0)
        {
            EndReceiving(error);
            return;
        }

        _receiving = Receiving.Armed;
    }

    /// <summary>The carrier: a read event.</summary>
    private void OnRead(in ChannelEvent channelEvent)
    {
        if (channelEvent.IsHangUp)
        {
            OnHangUp(channelEvent.Result);
            return;
        }

        if (channelEvent.IsLeased)
        {
            ReceiveSegment lease = Channel.Leases.Take(in channelEvent);
            if (_receiving == Receiving.Ended)
            {
                Channel.Leases.ReturnNow(lease);
                return;
            }

            long unread;
            try
            {
                unread = _input.Append(lease);
            }
            catch
            {
                Channel.Leases.ReturnNow(lease); // it was to be copied, and there was no memory to copy it to
                throw;
            }

            if (unread < 0)
            {
                StopReceiving();
                return;
            }

            if (unread >= _endpoint.PauseReadAt && _receiving == Receiving.Armed)
            {
                PauseReceiving();
            }
        }

        if (channelEvent.HasMore)
        {
            return;
        }

        if (_receiving == Receiving.Pausing && !_closing &&
            (channelEvent.Result == ChannelError.Canceled || channelEvent.Result == 0))
        {
            // The peer's FIN stays behind the data that the application has not read.
            _receiving = Receiving.Paused;
            _finBehindPause = channelEvent.Result == 0;
            if (!_receivingPaused)
            {
                EndPause(); // a resume came before the pause was complete
            }
            else if (_finBehindPause)
            {
                TellEnd();
            }

            return;
        }

        EndReceiving(channelEvent.Result);
    }

    /// <summary>
    /// The carrier: the peer has ended the connection while reading is paused. An application that reads slowly, or
    /// not at all, is told so now. After a FIN what the socket holds can still be read; a reset ends that, too.
    /// </summary>
    private void OnHangUp(int result)
    {
        if (_receiving != Receiving.Paused || _closing)
        {
            return;
        }

        if (result == 0)
        {
            TellEnd();
        }
        else
        {
            EndReceiving(result);
        }
    }

    /// <summary>The application has completed its reader: what still arrives stays in the socket.</summary>
    private void StopReceiving()
    {
        if (_receiving == Receiving.Armed)
        {
            Channel.Native.ReadPause(Handle);
        }

        _receiving = Receiving.Ended;
        _input.End(null);
        TellEnd();
    }

    private void PauseReceiving()
    {
        _receiving = Receiving.Pausing;
        _receivingPaused = true;
        Channel.PauseCount++;
        TransportLog.ConnectionPause(Logger, this);
        int error = Channel.Native.ReadPause(Handle);
        System.Diagnostics.Debug.Assert(error >= 0);

        // The application may have read on between the decision and the announcement.
        if (_input.UnreadBytes < _endpoint.ResumeReadBelow)
        {
            ResumeReceiving();
        }
    }

    private void ResumeReceiving()
    {
        if (!_receivingPaused)
        {
            return;
        }

        _receivingPaused = false;
        TransportLog.ConnectionResume(Logger, this);
        if (_receiving == Receiving.Paused && !_closing)
        {
            EndPause();
        }
    }

    private void EndPause()
    {
        if (_finBehindPause)
        {
            EndReceiving(0);
        }
        else if (_input.IsCompleted)
        {
            // Nobody reads on. What the socket holds stays there, and the close knows of it (native/src/stage/close.c).
            StopReceiving();
        }
        else
        {
            StartReceiving();
        }
    }

    /// <summary>The carrier: reading is over; 0 is the peer's FIN.</summary>
    private void EndReceiving(int result)
    {
        if (_receiving == Receiving.Ended)
        {
            return;
        }

        _receiving = Receiving.Ended;
        _receivingPaused = false;
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
