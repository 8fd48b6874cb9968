// One endpoint: its partitions on the host's channels, and the queue that Kestrel's accept loop takes from.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Internal;

internal sealed class MegaPipeConnectionListener : IConnectionListener
{
    /// <summary>
    /// Unbinding lets the channels take what the kernel has queued, for at most so many milliseconds.
    /// </summary>
    private const int DrainRounds = 100;

    private readonly Socket _socket;
    private readonly EndpointContext _endpoint;
    private readonly ListenerPartition[] _partitions;
    private readonly ChannelSet _channels;
    private readonly Action _onDisposed;
    private readonly AcceptQueue _accepted;
    private readonly Lock _sync = new();
    private Task? _unbind;
    private bool _disposed;

    private MegaPipeConnectionListener(
        Socket socket, EndpointContext endpoint, MegaPipeTransportOptions options, ChannelSet channels,
        Action onDisposed)
    {
        _socket = socket;
        _endpoint = endpoint;
        _channels = channels;
        _onDisposed = onDisposed;
        _accepted = new AcceptQueue(channels.Channels[0].Scheduling);
        (bool lwSockets, bool askLocal) = SocketKind(
            endpoint.EndPoint, options.LightweightSockets, MegaPipeFeatures.Has(Feature.LwSocket),
            MegaPipeFeatures.Has(Feature.PromptClose));
        _partitions =
        [
            .. channels.Channels.Select(
                channel => new ListenerPartition(this, endpoint, channel, lwSockets, askLocal)),
        ];
    }

    public EndPoint EndPoint => _endpoint.EndPoint;

    /// <summary>
    /// Opens the endpoint's partition on each channel. The listener owns the socket, also when this throws.
    /// </summary>
    public static async Task<MegaPipeConnectionListener> BindAsync(
        Socket socket, EndpointContext endpoint, MegaPipeTransportOptions options, ChannelSet channels,
        Action onDisposed)
    {
        MegaPipeConnectionListener listener = new(socket, endpoint, options, channels, onDisposed);
        bool partitioned = endpoint.EndPoint is IPEndPoint && options.CreateBoundListenSocket is null;
        int fd = (int)socket.SafeHandle.DangerousGetHandle();
        if (partitioned && channels.Channels[0].SteeredCpu is >= 0 and { } cpu)
        {
            ListenSockets.SteerTo(socket, cpu);
        }

        TaskCompletionSource<int>[] started = new TaskCompletionSource<int>[channels.Channels.Count];
        for (int i = 0; i < started.Length; i++)
        {
            int index = i;
            started[i] = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
            channels.Channels[i].Post(_ =>
            {
                try
                {
                    started[index].SetResult(listener._partitions[index].Start(
                        fd, ownQueue: partitioned && index > 0, options.Backlog));
                }
                catch (Exception error)
                {
                    started[index].SetException(error);
                }
            });
        }

        Task<int[]> all = Task.WhenAll(started.Select(one => one.Task));
        await ((Task)all).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        int error = all.IsFaulted ? 0 : all.Result.FirstOrDefault(result => result < 0);
        if (all.IsFaulted || error < 0)
        {
            await listener.DisposeAsync().ConfigureAwait(false);
            await all.ConfigureAwait(false);
            throw ChannelError.ToException(error, $"Opening a listener partition for {endpoint.EndPoint}");
        }

        return listener;
    }

    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default) =>
        await _accepted.TakeAsync(cancellationToken).ConfigureAwait(false);

    /// <summary>
    /// Stops accepting. Takes milliseconds and is not cancelled: Kestrel asks with a cancelled token when a start
    /// fails.
    /// </summary>
    public async ValueTask UnbindAsync(CancellationToken cancellationToken = default)
    {
        Task unbind;
        lock (_sync)
        {
            unbind = _unbind ??= UnbindCoreAsync();
        }

        await unbind.ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        await UnbindAsync().ConfigureAwait(false);
        lock (_sync)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
        }

        foreach (MegaPipeConnection connection in _accepted.TakeRest())
        {
            connection.Abort();
            await connection.DisposeAsync().ConfigureAwait(false);
        }

        _onDisposed();
    }

    /// <summary>The carrier: a connection for Kestrel's accept loop.</summary>
    internal void OnAccepted(MegaPipeConnection connection, TransportChannel channel) =>
        _accepted.Add(connection, channel);

    private async Task UnbindCoreAsync()
    {
        // Closing a listener resets what it has queued: the stock transport loses those clients, this one serves them.
        for (int round = 0; round < DrainRounds && Array.Exists(_partitions, partition => partition.HasQueued); round++)
        {
            await Task.Delay(1).ConfigureAwait(false);
        }

        for (int i = 0; i < _partitions.Length; i++)
        {
            ListenerPartition partition = _partitions[i];
            _channels.Channels[i].Post(_ => partition.Stop());
        }

        await Task.WhenAll(_partitions.Select(partition => partition.Retired)).ConfigureAwait(false);
        _socket.Dispose();
        _accepted.End();
    }

    /// <summary>
    /// Whether to accept lightweight sockets, and whether each connection has a local address of its own.
    /// </summary>
    /// <remarks>
    /// Where the kernel releases closed lightweight sockets late, each close costs more than an ordinary one
    /// (native/src/release.c), so only who asks for them gets them.
    /// </remarks>
    internal static (bool LwSockets, bool AskLocal) SocketKind(
        EndPoint endPoint, LightweightSockets option, bool available, bool promptClose)
    {
        bool wildcard = endPoint is IPEndPoint ip &&
            (ip.Address.Equals(IPAddress.Any) || ip.Address.Equals(IPAddress.IPv6Any));
        bool lwSockets = option switch
        {
            LightweightSockets.Always => true,
            LightweightSockets.Never => false,
            _ => !wildcard && promptClose,
        };
        return (lwSockets && available, wildcard && !(lwSockets && available));
    }
}
