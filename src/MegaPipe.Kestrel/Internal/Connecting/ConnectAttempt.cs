// One connect: from the wish to a connection, or to the reason why there is none.
//
//   Begin → Perform (the carrier makes the socket) → the kernel's event → the awaiter goes on where its channel says
//
// A token, a time-out or the end of the factory may come at any time. Of these and the event exactly one releases the
// awaiter (PendingOperation); what the kernel still does for an attempt that nobody awaits is closed when it ends.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Connecting;

/// <summary>An attempt to connect one channel to one address. Used once.</summary>
internal sealed class ConnectAttempt : IHandleOwner, IChannelWork
{
    private readonly EndPoint _target;
    private readonly int _sourcePort;
    private readonly OutgoingContext _context;
    private readonly PendingConnect _pending; // and the lock

    // Under the lock, until the awaiter is released; then the awaiter's.
    private MegaPipeConnection? _connection;
    private Exception? _error;

    private int _counted = 1; // in ConnectingCount

    // The carrier's.
    private bool _asked;
    private bool _closing;

    private ConnectAttempt(TransportChannel channel, OutgoingContext context, EndPoint target, int sourcePort)
    {
        _sourcePort = sourcePort;
        Channel = channel;
        _context = context;
        _target = target;
        _pending = new PendingConnect(this, new ContinuationCost(channel), channel.Scheduling);
        Interlocked.Increment(ref channel.ConnectingCount);
    }

    public TransportChannel Channel { get; }

    public OutgoingContext Context => _context;

    public long Handle { get; private set; }

    IChannelWork? IChannelWork.NextWork { get; set; }

    /// <summary>
    /// Connects <paramref name="channel"/> to <paramref name="target"/>, from <paramref name="sourcePort"/> unless
    /// that is 0. Throws what the runtime's sockets throw.
    /// </summary>
    public static ValueTask<MegaPipeConnection> ConnectAsync(
        TransportChannel channel, OutgoingContext context, EndPoint target, int sourcePort,
        CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
        {
            return ValueTask.FromCanceled<MegaPipeConnection>(cancellationToken);
        }

        ConnectAttempt attempt = new(channel, context, target, sourcePort);
        lock (attempt._pending)
        {
            attempt._pending.Begin(cancellationToken);
        }

        channel.Post(attempt);
        return attempt._pending.Await();
    }

    /// <summary>The carrier; or anybody once the channel has ended.</summary>
    void IChannelWork.Perform(TransportChannel channel)
    {
        if (_asked)
        {
            Close(); // the second time: nobody awaits it any more
            return;
        }

        _asked = true;
        if (channel.HasEnded || _context.IsClosed)
        {
            Release(null, new ObjectDisposedException(OutgoingContext.FactoryName));
            return;
        }

        if (!IsAwaited)
        {
            return;
        }

        long handle = OutgoingSocket.Connect(channel, _context, _target, _sourcePort);
        if (handle < 0)
        {
            Release(null, ConnectError.ToException((int)handle, _target, _context));
            return;
        }

        Handle = handle;
        channel.Add(this);
    }

    public void OnEvent(in ChannelEvent channelEvent)
    {
        if (channelEvent.Stage != Stage.Accept || !channelEvent.IsConnected || _closing)
        {
            return;
        }

        if (channelEvent.Result < 0)
        {
            Exception error = ConnectError.ToException(channelEvent.Result, _target, _context);
            Close();
            Release(null, error);
            return;
        }

        OutgoingSocket.Finish(Channel, _context, Handle, _target);
        EndPoint? local = Channel.Native.LocalEndPoint(Handle, out _);
        MegaPipeConnection connection = new(Channel, _context.EndpointFor(_target), Handle, local, _target);
        connection.StartConnected(this);
        if (!Release(connection, null))
        {
            connection.Abort(new Microsoft.AspNetCore.Connections.ConnectionAbortedException(
                "The connect was canceled when the connection had been made."));
            _ = connection.DisposeAsync().AsTask();
        }
    }

    public void Fail(Exception error)
    {
        Close();
        Release(null, error);
    }

    /// <summary>The carrier: the factory ends.</summary>
    public void Abandon()
    {
        Close();
        Release(null, new ObjectDisposedException(OutgoingContext.FactoryName));
    }

    private bool IsAwaited
    {
        get
        {
            lock (_pending)
            {
                return _pending.IsWaiting;
            }
        }
    }

    /// <summary>The carrier.</summary>
    private void Close()
    {
        if (Handle != 0 && !_closing && Channel.Has(this))
        {
            _closing = true;
            Channel.Native.Close(Handle, abort: true);
        }
    }

    /// <summary>false: a token or a time-out has done so before.</summary>
    private bool Release(MegaPipeConnection? connection, Exception? error)
    {
        bool release;
        lock (_pending)
        {
            release = _pending.TryRelease();
            if (release)
            {
                _connection = connection;
                _error = error;
            }
        }

        Uncount();
        if (release)
        {
            Channel.Schedule(_pending);
        }

        return release;
    }

    private void Uncount()
    {
        if (Interlocked.Exchange(ref _counted, 0) != 0)
        {
            Interlocked.Decrement(ref Channel.ConnectingCount);
        }
    }

    /// <summary>What the awaiter gets. Without a result it was its token.</summary>
    private MegaPipeConnection Finish(CancellationToken token)
    {
        if (_connection is null && _error is null)
        {
            Uncount();
            Channel.Post(_ => ((IChannelWork)this).Perform(Channel));
            token.ThrowIfCancellationRequested();
        }

        if (_error is not null)
        {
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(_error);
        }

        return _connection!;
    }

    private sealed class PendingConnect(ConnectAttempt attempt, ContinuationCost cost, ChannelScheduling scheduling)
        : PendingOperation<MegaPipeConnection>(cost, scheduling)
    {
        protected override MegaPipeConnection Finish(CancellationToken token) => attempt.Finish(token);
    }
}
