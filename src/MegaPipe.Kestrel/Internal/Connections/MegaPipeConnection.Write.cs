// Stage write: everything flushed goes out in one request; what is flushed meanwhile joins the next.
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Connections;

internal sealed partial class MegaPipeConnection
{
    // The carrier's.
    private bool _sending;
    private bool _finishAsked;
    private IoVectorArray? _vectors;
    private HeldWrite? _hold; // of a write that is not to be copied

    /// <summary>A flush waits for the peer to take what was written. Any thread.</summary>
    public bool IsWriteAwaited => _output.IsAwaited;

    private void Send()
    {
        if (_sending || _closing)
        {
            return;
        }

        int bytes = _output.TakeWrite(Channel, out nint address, out _vectors, out _hold);
        if (bytes == 0)
        {
            return;
        }

        int error = _vectors is null
            ? Channel.Native.Write(Handle, address, bytes)
            : _hold is null
                ? Channel.Native.WriteVectors(Handle, _vectors)
                : Channel.Native.WriteHeld(Handle, _vectors, _hold.Number);
        if (error < 0)
        {
            ReturnVectors();
            SettleHold(kept: false, copied: false);
            FailSending(error);
            return;
        }

        _sending = true;
    }

    /// <summary>The carrier: the write in flight has ended.</summary>
    private void OnWrite(in ChannelEvent channelEvent)
    {
        _sending = false;
        ReturnVectors();
        SettleHold(channelEvent.IsHeld, channelEvent.IsCopied);
        if (_closing)
        {
            // Whatever became of it: it was the last one, and flushes must not wait for another.
            EndSending();
            return;
        }

        if (channelEvent.Result < 0)
        {
            FailSending(channelEvent.Result);
            return;
        }

        _output.Sent(channelEvent.Result);
        if (!_input.Opening.IsAnswered)
        {
            NoteAnswer();
        }

        Send();
        if (_finishAsked && !_sending)
        {
            PerformClose(ConnectionAsks.Finish);
        }

        if (_moveTo is not null)
        {
            TryBeginMove(); // the moment between an answer and the next request
        }
    }

    private void FailSending(int result)
    {
        Exception error;
        if (IsReset(result))
        {
            NoteReset();
            error = ToResetException(result);
        }
        else
        {
            error = new SocketException((int)ChannelError.ToSocketError(result));
            TransportLog.ConnectionError(Logger, this, error);
        }

        Shutdown(error);
    }

    /// <summary>No write is in flight and none will be made.</summary>
    private void EndSending() => _output.Close();

    /// <summary>Before anything else happens to the blocks.</summary>
    private void SettleHold(bool kept, bool copied)
    {
        if (_hold is not { } hold)
        {
            return;
        }

        _hold = null;
        if (kept)
        {
            _output.Keep(hold);
        }
        else
        {
            Channel.Holds.End(hold, copied);
        }
    }

    private void ReturnVectors()
    {
        if (_vectors is not null)
        {
            Channel.ReturnVectors(_vectors);
            _vectors = null;
        }
    }
}
