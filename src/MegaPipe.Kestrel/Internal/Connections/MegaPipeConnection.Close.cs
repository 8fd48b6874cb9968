// Stage close: one Shutdown is the only way to the end, and its first reason wins.
//
//   application completes its output → everything is sent → FIN          (Finish)
//   Abort, or an error while sending → RST, or FIN with FinOnError       (Reset, Close)
//   Abort without a reason           → FIN: Kestrel's way to say that the client ended first    (Close)
//
// The handle is retired when its last completion was reaped; only then is DisposeAsync done.
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace MegaPipe.Kestrel.Internal.Connections;

internal sealed partial class MegaPipeConnection
{
    /// <summary>
    /// Turns by which a close without reset lets writes end: one in flight, one for what came behind it.
    /// </summary>
    private const int MaxClosesPutOff = 2;

    private const string GracefulReason = "The MegaPipe transport's send loop completed gracefully.";

    private readonly CancellationTokenSource _connectionClosed = new();

    /// <summary>ConnectionClosed has fired and the handle is retired. Set on the thread pool only.</summary>
    private EndSignal _ended;
    private bool _closedFired; // the thread pool's
    private int _endsLeft = 2;
    private CancellationToken _connectionClosedToken; // also after the source was disposed
    private Exception? _shutdownReason;
    private int _closesPutOff; // the carrier's
    private bool _closing; // the carrier's: mp_close was made
    private volatile bool _retired;

    /// <summary>Why the connection has ended or is about to; null while it has not.</summary>
    public Exception? EndReason => Volatile.Read(ref _shutdownReason);

    public override CancellationToken ConnectionClosed
    {
        get => _connectionClosedToken;
        set => _connectionClosedToken = value;
    }

    void IConnectionLifetimeFeature.Abort() => Abort(new ConnectionAbortedException(
        "The connection was aborted by the application via IConnectionLifetimeFeature.Abort()."));

    public override void Abort(ConnectionAbortedException abortReason) => Shutdown(abortReason);

    public void OnOutputCompleted(Exception? exception)
    {
        if (exception is not null)
        {
            TransportLog.ConnectionError(Logger, this, exception);
            Shutdown(exception);
            return;
        }

        Ask(ConnectionAsks.Send | ConnectionAsks.Finish);
    }

    public override async ValueTask DisposeAsync()
    {
        _input.Complete();
        _output.Complete();
        await _ended.WaitAsync().ConfigureAwait(false);
        _socket?.Dispose();
        _connectionClosed.Dispose();
        await base.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>The carrier could not go on with this connection.</summary>
    public void Fail(Exception error)
    {
        TransportLog.ConnectionError(Logger, this, error);
        Shutdown(error);
    }

    /// <summary>Any thread: ends the connection for a reason; null: as if everything were sent.</summary>
    private void Shutdown(Exception? reason)
    {
        bool abort = reason is not null && !_endpoint.FinOnError;
        if (TrySetReason(reason, abort))
        {
            Ask(abort ? ConnectionAsks.Reset : ConnectionAsks.Close);
        }
    }

    /// <summary>
    /// The first reason wins, and is logged once: with <paramref name="abort"/> as RST, otherwise as FIN, which is what
    /// the caller must then ask for.
    /// </summary>
    private bool TrySetReason(Exception? reason, bool abort)
    {
        Exception actual = reason ?? new ConnectionAbortedException(GracefulReason);
        if (Interlocked.CompareExchange(ref _shutdownReason, actual, null) is not null)
        {
            return false;
        }

        if (abort)
        {
            TransportLog.ConnectionWriteRst(Logger, this, actual.Message);
        }
        else
        {
            TransportLog.ConnectionWriteFin(Logger, this, actual.Message);
        }

        return true;
    }

    private void PerformClose(ConnectionAsks asks)
    {
        if (_closing)
        {
            return;
        }

        if ((asks & (ConnectionAsks.Close | ConnectionAsks.Reset)) == 0)
        {
            // Finish: not before the last byte. Where another reason came first, its own ask is on its way.
            _finishAsked = true;
            if (_sending || !_output.IsDrained || !TrySetReason(null, abort: false))
            {
                return;
            }
        }
        else if ((asks & ConnectionAsks.Reset) == 0 && _sending && _closesPutOff < MaxClosesPutOff)
        {
            // What the socket takes at once goes out before the FIN, as if it had been sent when it was flushed. A
            // write that has not ended after the kernel had it waits for the peer, and is cut.
            _closesPutOff++;
            Channel.Native.Flush();
            Ask(ConnectionAsks.Close);
            return;
        }

        _closing = true;
        _input.Pressure.Close();
        bool abort = (asks & ConnectionAsks.Reset) != 0;
        EndSocket(abort);
        int error = Channel.Native.Close(Handle, abort);
        System.Diagnostics.Debug.Assert(error >= 0);
        if (!_sending)
        {
            EndSending();
        }
    }

    /// <summary>The carrier: the handle is gone and nothing of it is in flight.</summary>
    private void OnRetired()
    {
        _retired = true;
        EndReading(ChannelError.Canceled);
        TellEnd();
        if (_isGiven)
        {
            _socket!.Dispose();
        }

        if (Interlocked.Decrement(ref _endsLeft) == 0)
        {
            Channel.QueueAfterTurn(this); // for the second time: the peer had ended it, which was told
        }
    }

    /// <summary>
    /// On the thread pool: ConnectionClosed fires, and where the handle is retired who disposes the connection goes on,
    /// without a hop of its own.
    /// </summary>
    void IThreadPoolWorkItem.Execute()
    {
        if (!_closedFired)
        {
            _closedFired = true;
            FireClosed();
            if (Interlocked.Decrement(ref _endsLeft) != 0)
            {
                return;
            }
        }

        _ended.Set();
    }

    /// <summary>The application's registrations run in it.</summary>
    private void FireClosed()
    {
        try
        {
            _connectionClosed.Cancel();
        }
        catch (Exception error)
        {
            TransportLog.ConnectionClosedFailed(Logger, this, error);
        }
    }
}
