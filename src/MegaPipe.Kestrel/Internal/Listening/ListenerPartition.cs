// One channel's own accept queue for an endpoint (paper §3.2), or its share of the endpoint's only one.
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>What an endpoint's accepted sockets are.</summary>
/// <param name="Lightweight">Without an entry in the process's fd table.</param>
/// <param name="AskLocalEndPoint">Each has a local address of its own.</param>
/// <param name="Options">What they did not inherit is set from these; null: they inherit everything.</param>
internal readonly record struct AcceptedSockets(
    bool Lightweight, bool AskLocalEndPoint, MegaPipeTransportOptions? Options);

/// <summary>Everything here is the carrier's, but for the tasks.</summary>
internal sealed class ListenerPartition(
    MegaPipeConnectionListener listener, EndpointContext endpoint, TransportChannel channel, AcceptedSockets sockets,
    Balancer? balancer)
    : IHandleOwner
{
    /// <summary>
    /// Accepts outstanding. Each new one is tried at once and usually in vain, which costs the kernel a socket made and
    /// freed: with 16 instead of 4 short connections cost 7 % more (crank/generators/mp-load.c).
    /// </summary>
    public const int Outstanding = 4;

    /// <summary>How long to wait after the descriptor limit was reached; no event says when one is free.</summary>
    public static readonly TimeSpan RetryAfter = TimeSpan.FromMilliseconds(100);

    private readonly TaskCompletionSource _retired = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly EndPoint? _unnamedPeer =
        endpoint.EndPoint is UnixDomainSocketEndPoint ? SocketAddressCodec.UnnamedUnix : null;

    private bool _stopped;
    private volatile bool _shut;
    private volatile bool _drained;
    private volatile bool _drainsByError;
    private bool _ownQueue;

    // Looks at the listening socket, which somebody else owns; where channels are balanced, by a descriptor of its own,
    // because other threads look at it then and others' rings accept from it.
    private Socket? _queue;

    // By which other channels name it, where they may give it connections.
    private ulong _number;
    private bool _numbered;

    public TransportChannel Channel => channel;

    public long Handle { get; private set; }

    /// <summary>The listening socket's descriptor; -1 before the start. Valid until <see cref="Stop"/>.</summary>
    public int Fd => _queue is null ? -1 : (int)_queue.SafeHandle.DangerousGetHandle();

    /// <summary>It accepts from a socket of its own, not from the endpoint's first one.</summary>
    public bool HasOwnQueue => _ownQueue;

    /// <summary>Whether the kernel has connections for this partition that nobody has accepted. Any thread.</summary>
    public bool HasQueued => _queue is not null && !_retired.Task.IsCompleted &&
        !_drained && (_drainsByError || ListenSockets.HasQueued(_queue));

    /// <summary>
    /// From now on nobody begins to connect here. Any thread, before <see cref="Stop"/>. The endpoint's first socket is
    /// the listener's to shut.
    /// </summary>
    public bool TryShut(EndPoint endPoint, bool shared)
    {
        _shut = true;
        _drainsByError = endPoint is UnixDomainSocketEndPoint;
        return !_ownQueue || _queue is null || NewcomerRefusal.TryShut(_queue, endPoint, shared);
    }

    public Task Retired => _retired.Task;

    public AcceptFlags Flags => AcceptFlags.Keep | (sockets.Lightweight ? AcceptFlags.LwSocket : AcceptFlags.None);

    /// <summary>
    /// Starts accepting from <paramref name="fd"/>; with <paramref name="open"/> from a new socket on the same address.
    /// 0 or a negative errno.
    /// </summary>
    public int Start(int fd, bool open, bool ownQueue, int backlog)
    {
        if (channel.HasEnded)
        {
            _retired.TrySetResult();
            return ChannelError.Canceled;
        }

        long handle = channel.Native.Register(fd, 0, open ? ulong.MaxValue : 0, backlog);
        if (handle < 0)
        {
            return (int)handle; // may be tried in another way; Stop ends it
        }

        Handle = handle;
        _ownQueue = ownQueue;
        channel.Add(this);
        _queue = Open(channel.Native.PeekFd(handle));
        return channel.Native.Accept(handle, Outstanding, Flags);
    }

    /// <summary>Stops accepting; what was accepted is still delivered.</summary>
    public void Stop()
    {
        if (_stopped)
        {
            return;
        }

        _stopped = true;
        if (Handle == 0)
        {
            _retired.TrySetResult();
            return;
        }

        channel.Native.Unregister(Handle);
    }

    public void OnEvent(in ChannelEvent channelEvent)
    {
        switch (channelEvent.Stage)
        {
            case Stage.Accept:
                OnAccept(in channelEvent);
                break;
            case Stage.Close when channelEvent.IsRetired:
                OnRetired();
                break;
        }
    }

    public void Fail(Exception error) => Fail(error.Message);

    private void Fail(string error)
    {
        channel.AcceptErrorCount++;
        endpoint.Meter.On(channel.Index).AcceptErrors++;
        MegaPipeEventSource.Log.AcceptFailed(endpoint.EndPoint.ToString()!, error);
        TransportLog.AcceptFailed(endpoint.Logger, endpoint.EndPoint, error);
    }

    private void OnAccept(in ChannelEvent channelEvent)
    {
        if (channelEvent.IsTransferred)
        {
            OnTaken(in channelEvent);
            return;
        }

        if (channelEvent.Result >= 0 && !TryGive(channelEvent.Handle))
        {
            Adopt(channelEvent.Handle);
        }

        if (channelEvent.HasMore || _stopped)
        {
            return;
        }

        if (_shut && channelEvent.Result == ChannelError.InvalidArgument)
        {
            // A Unix listener that was shut has connections as long as it does not say this.
            _drained = true;
            return;
        }

        if (channelEvent.Result < 0)
        {
            Fail(ChannelError.Text(channelEvent.Result));
        }

        _ = RetryAsync();
    }

    /// <summary>
    /// Where channels are balanced, before the first accept. Until <see cref="Forget"/> other channels may give it
    /// connections.
    /// </summary>
    public void Expect()
    {
        _number = channel.Arrivals.Number(this);
        _numbered = true;
    }

    /// <summary>When nothing is on its way to it.</summary>
    public void Forget()
    {
        if (_numbered)
        {
            _numbered = false;
            channel.Arrivals.Release(_number);
        }
    }

    /// <summary>Connections that wait to be accepted. Any thread.</summary>
    public int QueueDepth => _queue is { } queue ? ListenSockets.QueueDepth(queue) : 0;

    /// <summary>
    /// The carrier of <paramref name="other"/>: a handle for this queue there, or a negative errno.
    /// </summary>
    public long RegisterCopy(TransportChannel other)
    {
        if (_queue is not { } queue)
        {
            return ChannelError.BadHandle;
        }

        bool held = false;
        try
        {
            queue.SafeHandle.DangerousAddRef(ref held);
            return other.Native.RegisterCopy((int)queue.SafeHandle.DangerousGetHandle(), 0);
        }
        catch (ObjectDisposedException)
        {
            return ChannelError.BadHandle;
        }
        finally
        {
            if (held)
            {
                queue.SafeHandle.DangerousRelease();
            }
        }
    }

    private Socket Open(int fd)
    {
        if (balancer is not null)
        {
            int copy = MegaPipe.Native.Channel.CopyFd(fd);
            if (copy >= 0)
            {
                return new Socket(new SafeSocketHandle(copy, ownsHandle: true));
            }
        }

        return new Socket(new SafeSocketHandle(fd, ownsHandle: false));
    }

    /// <summary>Gives a connection that was just accepted to another channel, if one should have it.</summary>
    private bool TryGive(long handle)
    {
        if (balancer is null)
        {
            return false;
        }

        CarrierWatcher.Instance.Attend();
        int taker = _stopped ? -1 : balancer.Choose(channel.Index);
        if (taker < 0)
        {
            return false;
        }

        (ListenerPartition to, TransportChannel target) = listener.Partition(taker);
        if (!to._numbered || !target.Arrivals.TryExpect())
        {
            return false;
        }

        if (channel.Native.Transfer(handle, target.Native, to._number) < 0)
        {
            target.Arrivals.Forget(); // its mailbox is full, or it has no room for lightweight sockets
            return false;
        }

        channel.Add(new GivenConnection(this, target, handle));
        channel.GivenCount++;
        listener.OnJourney(1);
        balancer.NoteGiven(channel.Index, taker);
        return true;
    }

    /// <summary>A connection that another channel has accepted and given to this one.</summary>
    private void OnTaken(in ChannelEvent channelEvent)
    {
        try
        {
            if (channelEvent.Result < 0)
            {
                TransportLog.AcceptFailed(
                    endpoint.Logger, endpoint.EndPoint, ChannelError.Text(channelEvent.Result));
                return;
            }

            channel.TakenCount++;
            Adopt(channelEvent.Handle);
        }
        finally
        {
            listener.OnJourney(-1);
        }
    }

    /// <summary>The kernel could not give it away.</summary>
    public void TakeBack(GivenConnection given)
    {
        channel.Remove(given);
        channel.GivenCount--;
        given.Target.Arrivals.Forget();
        listener.OnJourney(-1);
        Adopt(given.Handle);
    }

    [SuppressMessage("Design", "CA1031", Justification = "Whatever it was, it is the end of one connection.")]
    public void Adopt(long handle)
    {
        MegaPipeConnection? connection = null;
        try
        {
            if (sockets.Options is { } options && channel.Native.PeekFd(handle) is >= 0 and { } fd)
            {
                ListenSockets.SetAccepted(fd, options);
            }

            EndPoint? local = sockets.AskLocalEndPoint ? channel.Native.LocalEndPoint(handle, out _) : null;
            connection = new(channel, endpoint, handle, local ?? endpoint.EndPoint,
                channel.Native.PeerEndPoint(handle) ?? _unnamedPeer);
            connection.Start();
            listener.OnAccepted(connection, channel);
        }
        catch (Exception error)
        {
            Fail(error);
            if (connection is null || !channel.Has(connection))
            {
                channel.Native.Close(handle, abort: true);
            }
            else
            {
                connection.Fail(error);
            }
        }
    }

    private void OnRetired()
    {
        _queue?.Dispose();
        _retired.TrySetResult();
    }

    /// <summary>One accept has ended; the others of this partition may have, too, each with its own event.</summary>
    private async Task RetryAsync()
    {
        await Task.Delay(RetryAfter).ConfigureAwait(false);
        channel.Post(_ =>
        {
            if (!_stopped)
            {
                channel.Native.Accept(Handle, 1, Flags);
            }
        });
    }
}
