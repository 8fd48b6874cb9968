// Stage read: leased reads into the connection's reader, back-pressure by pausing them.
using System.Net.Sockets;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Internal;

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

    // Written by the carrier; read by the application, to ask for a resume only when there is a pause.
    private volatile bool _receivingPaused;

    public bool ShouldResumeReading(long unread) => _receivingPaused && unread < _endpoint.ResumeReadBelow;

    public void OnInputCompleted(bool resume)
    {
        if (resume)
        {
            Ask(ConnectionAsks.ResumeReceiving);
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
    public void OnRead(in ChannelEvent channelEvent)
    {
        if (channelEvent.IsLeased)
        {
            ReceiveSegment lease = Channel.TakeLease(in channelEvent);
            if (_receiving == Receiving.Ended)
            {
                Channel.ReturnLeaseNow(lease);
                return;
            }

            long unread = _input.Append(lease);
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

            return;
        }

        EndReceiving(channelEvent.Result);
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
        FireConnectionClosed();
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
        FireConnectionClosed();
    }

    /// <summary>A reset may show while reading, while writing, or both: it is one.</summary>
    private void NoteReset()
    {
        if (!_resetNoted)
        {
            _resetNoted = true;
            Channel.ResetCount++;
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
