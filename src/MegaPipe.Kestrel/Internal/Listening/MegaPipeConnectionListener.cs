// One endpoint: its partitions on the host's channels, and the queue that Kestrel's accept loop takes from.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Internal.Listening;

internal sealed class MegaPipeConnectionListener : IConnectionListener
{
    /// <summary>
    /// Unbinding lets the channels take what the kernel has queued, for at most so many milliseconds.
    /// </summary>
    private const int DrainRounds = 100;

    private readonly Socket _socket;
    private readonly MegaPipeTransportOptions _options;
    private readonly EndpointContext _endpoint;
    private readonly ListenerPartition[] _partitions;
    private readonly ChannelSet _channels;
    private readonly Action _onDisposed;
    private readonly AcceptQueue _accepted;
    private readonly Lock _sync = new();
    private Task? _unbind;
    private bool _disposed;

    private MegaPipeConnectionListener(
        ListenSocket socket, EndpointContext endpoint, MegaPipeTransportOptions options, ChannelSet channels,
        Action onDisposed)
    {
        _socket = socket.Socket;
        _options = options;
        _endpoint = endpoint;
        _channels = channels;
        _onDisposed = onDisposed;
        _accepted = new AcceptQueue(channels.Channels[0].Scheduling);
        AcceptedSockets accepted = Accepted(socket, endpoint.EndPoint, options);
        _partitions =
        [
            .. channels.Channels.Select(channel => new ListenerPartition(this, endpoint, channel, accepted)),
        ];
    }

    public EndPoint EndPoint => _endpoint.EndPoint;

    /// <summary>
    /// Opens the endpoint's partition on each channel. The listener owns the socket, also when this throws.
    /// </summary>
    public static async Task<MegaPipeConnectionListener> BindAsync(
        ListenSocket socket, EndpointContext endpoint, MegaPipeTransportOptions options, ChannelSet channels,
        Action onDisposed)
    {
        MegaPipeConnectionListener listener = new(socket, endpoint, options, channels, onDisposed);
        try
        {
            await listener.StartAsync(socket.IsOurs).ConfigureAwait(false);
            MegaPipeEventSource.Log.Bound(endpoint.EndPoint.ToString()!, channels.Channels.Count);
            return listener;
        }
        catch
        {
            await listener.DisposeAsync().ConfigureAwait(false);
            throw;
        }
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

    private async Task StartAsync(bool partitioned)
    {
        if (partitioned && _channels.Channels[0].SteeredCpu is >= 0 and { } cpu)
        {
            ListenSockets.SteerTo(_socket, cpu);
        }

        int[] errors = await StartPartitionsAsync(ownQueues: partitioned).ConfigureAwait(false);
        if (partitioned && Array.Exists(errors, error => error == ChannelError.NotSupported))
        {
            // The first socket has something that another one cannot be given: all channels accept from the first.
            TransportLog.NotPartitioned(_endpoint.Logger, EndPoint);
            errors = await StartPartitionsAsync(ownQueues: false).ConfigureAwait(false);
        }

        if (Array.Find(errors, error => error < 0) is not 0 and int error)
        {
            throw ChannelError.ToException(error, $"Opening a listener partition for {EndPoint}");
        }
    }

    /// <summary>
    /// Has the channels that do not accept yet start, from the endpoint's socket or from queues of their own. An error
    /// or 0 for each.
    /// </summary>
    private Task<int[]> StartPartitionsAsync(bool ownQueues)
    {
        int fd = (int)_socket.SafeHandle.DangerousGetHandle();
        return Task.WhenAll(_partitions.Select((partition, index) =>
        {
            TaskCompletionSource<int> started = new(TaskCreationOptions.RunContinuationsAsynchronously);
            _channels.Channels[index].Post(_ =>
            {
                try
                {
                    started.SetResult(
                        partition.Handle != 0 ? 0 : partition.Start(fd, ownQueues && index > 0, _options.Backlog));
                }
                catch (Exception error)
                {
                    started.SetException(error);
                }
            });
            return started.Task;
        }));
    }

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
        MegaPipeEventSource.Log.Unbound(EndPoint.ToString()!);
    }

    /// <summary>What the endpoint's accepted sockets are. Setting options on each takes ordinary ones.</summary>
    private static AcceptedSockets Accepted(ListenSocket listener, EndPoint endPoint, MegaPipeTransportOptions options)
    {
        bool leavesOptions = ListenSockets.LeavesOptions(listener, options);
        (bool lightweight, bool askLocal) = SocketKind(
            endPoint, leavesOptions ? LightweightSockets.Never : options.LightweightSockets,
            MegaPipeFeatures.Has(Feature.LwSocket), MegaPipeFeatures.Has(Feature.PromptClose));
        return new AcceptedSockets(lightweight, askLocal, leavesOptions ? options : null);
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
