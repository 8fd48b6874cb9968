// Stage close: one Shutdown is the only way to the end, and its first reason wins.
//
//   application completes its output → everything is sent → FIN          (Finish)
//   Abort, or an error while sending → RST, or FIN with FinOnError       (Reset, Close)
//
// The handle is retired when its last completion was reaped; only then is DisposeAsync done.
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace MegaPipe.Kestrel.Internal;

internal sealed partial class MegaPipeConnection
{
    private const string GracefulReason = "The MegaPipe transport's send loop completed gracefully.";

    private readonly CancellationTokenSource _connectionClosed = new();
    private readonly TaskCompletionSource _closedFired = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _retiredDone = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private CancellationToken? _connectionClosedToken;
    private Exception? _shutdownReason;
    private bool _closing; // the carrier's: mp_close was made
    private volatile bool _retired;

    public override CancellationToken ConnectionClosed
    {
        get => _connectionClosedToken ?? _connectionClosed.Token;
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
        await _retiredDone.Task.ConfigureAwait(false);
        await _closedFired.Task.ConfigureAwait(false);
        _output.Free();
        _socket?.Dispose();
        _connectionClosed.Dispose();
        await base.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Any thread: ends the connection for a reason.</summary>
    private void Shutdown(Exception reason)
    {
        if (TrySetReason(reason))
        {
            Ask(_endpoint.FinOnError ? ConnectionAsks.Close : ConnectionAsks.Reset);
        }
    }

    /// <summary>The first reason wins, and is logged once. null: everything was sent.</summary>
    private bool TrySetReason(Exception? reason)
    {
        Exception actual = reason ?? new ConnectionAbortedException(GracefulReason);
        if (Interlocked.CompareExchange(ref _shutdownReason, actual, null) is not null)
        {
            return false;
        }

        if (reason is null || _endpoint.FinOnError)
        {
            TransportLog.ConnectionWriteFin(Logger, this, actual.Message);
        }
        else
        {
            TransportLog.ConnectionWriteRst(Logger, this, actual.Message);
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
            if (_sending || !_output.IsDrained || !TrySetReason(null))
            {
                return;
            }
        }

        _closing = true;
        int error = Channel.Native.Close(Handle, abort: (asks & ConnectionAsks.Reset) != 0);
        System.Diagnostics.Debug.Assert(error >= 0);
        if (_receiving == Receiving.Paused)
        {
            EndReceiving(ChannelError.Canceled);
        }

        if (!_sending)
        {
            EndSending();
        }
    }

    /// <summary>The carrier: the handle is gone and nothing of it is in flight.</summary>
    public void OnRetired()
    {
        _retired = true;
        EndReceiving(ChannelError.Canceled);
        _retiredDone.TrySetResult();
    }

    /// <summary>On the thread pool, as the application's registrations run in it.</summary>
    private void FireConnectionClosed() => ThreadPool.UnsafeQueueUserWorkItem(
        static connection =>
        {
            try
            {
                connection._connectionClosed.Cancel();
            }
            catch (Exception error)
            {
                TransportLog.ConnectionClosedFailed(connection.Logger, connection, error);
            }

            connection._closedFired.TrySetResult();
        },
        this,
        preferLocal: false);
}
