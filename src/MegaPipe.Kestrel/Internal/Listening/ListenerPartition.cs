// One channel's own accept queue for an endpoint (paper §3.2), or its share of the endpoint's only one.
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Sockets;
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
    MegaPipeConnectionListener listener, EndpointContext endpoint, TransportChannel channel, AcceptedSockets sockets)
    : IHandleOwner
{
    /// <summary>
    /// Accepts outstanding. Each new one is tried at once and usually in vain, which costs the kernel a socket made and
    /// freed: with 16 instead of 4 short connections cost 7 % more (crank/generators/mp-load.c).
    /// </summary>
    private const int Outstanding = 4;

    /// <summary>How long to wait for descriptors after the limit was reached; nobody tells when one returns.</summary>
    private static readonly TimeSpan s_retryAfter = TimeSpan.FromMilliseconds(100);

    private readonly TaskCompletionSource _retired = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly EndPoint? _unnamedPeer =
        endpoint.EndPoint is UnixDomainSocketEndPoint ? SocketAddressCodec.UnnamedUnix : null;

    private bool _stopped;

    // Looks at the listening socket, which somebody else owns.
    private Socket? _queue;

    public long Handle { get; private set; }

    /// <summary>Whether the kernel has connections for this partition that nobody has accepted. Any thread.</summary>
    public bool HasQueued => _queue is not null && !_retired.Task.IsCompleted && ListenSockets.HasQueued(_queue);

    public Task Retired => _retired.Task;

    private AcceptFlags Flags => AcceptFlags.Keep | (sockets.Lightweight ? AcceptFlags.LwSocket : AcceptFlags.None);

    /// <summary>
    /// Starts accepting from <paramref name="fd"/>; with <paramref name="ownQueue"/> from a socket of its own on the
    /// same address. 0 or a negative errno.
    /// </summary>
    public int Start(int fd, bool ownQueue, int backlog)
    {
        if (channel.HasEnded)
        {
            _retired.TrySetResult();
            return ChannelError.Canceled;
        }

        long handle = channel.Native.Register(fd, 0, ownQueue ? ulong.MaxValue : 0, backlog);
        if (handle < 0)
        {
            return (int)handle; // may be tried in another way; Stop ends it
        }

        Handle = handle;
        channel.Add(this);
        _queue = new Socket(new SafeSocketHandle(channel.Native.PeekFd(handle), ownsHandle: false));
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
        if (channelEvent.Result >= 0)
        {
            Adopt(channelEvent.Handle);
        }

        if (channelEvent.HasMore || _stopped)
        {
            return;
        }

        if (channelEvent.Result < 0)
        {
            Fail(ChannelError.Text(channelEvent.Result));
        }

        _ = RetryAsync();
    }

    [SuppressMessage("Design", "CA1031", Justification = "Whatever it was, it is the end of one connection.")]
    private void Adopt(long handle)
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
        _retired.TrySetResult();
        _queue?.Dispose();
    }

    /// <summary>One accept has ended; the others of this partition may have, too, each with its own event.</summary>
    private async Task RetryAsync()
    {
        await Task.Delay(s_retryAfter).ConfigureAwait(false);
        channel.Post(_ =>
        {
            if (!_stopped)
            {
                channel.Native.Accept(Handle, 1, Flags);
            }
        });
    }
}
