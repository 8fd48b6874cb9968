// One endpoint: its partitions on the host's channels, and the queue that Kestrel's accept loop takes from.
using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Steering;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Listening;

internal sealed class MegaPipeConnectionListener : IConnectionListener, IBalancedListener
{
    private readonly ListenSocket _first;
    private readonly Socket _socket;
    private readonly MegaPipeTransportOptions _options;
    private readonly EndpointContext _endpoint;
    private readonly ListenerPartition[] _partitions;
    private readonly ChannelSet _channels;
    private readonly Action _onDisposed;
    private readonly AcceptQueue _accepted;
    private readonly Lock _sync = new();
    private readonly Balancer? _balancer;
    private readonly List<QueueDrain> _drains = []; // the balancer's, until it is left
    private int _onJourney;
    private Task? _unbind;
    private bool _left;
    private bool _disposed;

    private MegaPipeConnectionListener(
        ListenSocket socket, EndpointContext endpoint, MegaPipeTransportOptions options, ChannelSet channels,
        Balancer? balancer, Action onDisposed)
    {
        _balancer = socket.IsOurs ? balancer : null;
        _first = socket;
        _socket = socket.Socket;
        _options = options;
        _endpoint = endpoint;
        _channels = channels;
        _onDisposed = onDisposed;
        _accepted = new AcceptQueue(channels.Channels[0].Scheduling);
        AcceptedSockets accepted = Accepted(socket, endpoint.EndPoint, options);
        _partitions =
        [
            // A predecessor may have had more channels: its queues are served all the same.
            .. Enumerable.Range(0, Math.Max(channels.Channels.Count, 1 + socket.More.Length)).Select(index =>
                new ListenerPartition(
                    this, endpoint, channels.Channels[index % channels.Channels.Count], accepted,
                    _balancer)),
        ];
    }

    public EndPoint EndPoint => _endpoint.EndPoint;

    /// <summary>The host's.</summary>
    internal IReadOnlyList<TransportChannel> Channels => _channels.Channels;

    /// <summary>
    /// Opens the endpoint's partition on each channel. The listener owns the socket, also when this throws.
    /// </summary>
    public static async Task<MegaPipeConnectionListener> BindAsync(
        ListenSocket socket, EndpointContext endpoint, MegaPipeTransportOptions options, ChannelSet channels,
        Action onDisposed, Balancer? balancer = null)
    {
        MegaPipeConnectionListener listener = new(socket, endpoint, options, channels, balancer, onDisposed);
        try
        {
            await listener.StartAsync(socket.IsOurs && endpoint.EndPoint is IPEndPoint).ConfigureAwait(false);
            MegaPipeEventSource.Log.Bound(endpoint.EndPoint.ToString()!, channels.Channels.Count);
            return listener;
        }
        catch
        {
            await listener.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }

    public ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default) =>
        _accepted.TakeAsync(cancellationToken);

    /// <summary>
    /// Stops accepting. Takes milliseconds, unless somebody is connecting or has just connected and not asked yet: two
    /// seconds at most. Not cancelled: Kestrel asks with a cancelled token when a start fails.
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

    /// <summary>
    /// Copies of the listening sockets, for a successor, which are the caller's. null: they are about to be closed, or
    /// have no address that it could ask for.
    /// </summary>
    public PassedListener? Pass()
    {
        lock (_sync)
        {
            // What has not begun to unbind has its sockets open.
            if (_unbind is not null || TakeoverMessages.AddressOf(EndPoint) is not { } address)
            {
                return null;
            }

            int first = (int)_socket.SafeHandle.DangerousGetHandle();
            int[] fds =
            [
                first, .. _partitions.Where(partition => partition.HasOwnQueue).Select(partition => partition.Fd),
            ];
            return new PassedListener(
                address, _first.Owner, [.. fds.Select(DescriptorPassing.Duplicate).Where(copy => copy >= 0)]);
        }
    }

    /// <summary>
    /// A successor accepts from these sockets: this listener stops, and leaves it what is queued and the address.
    /// </summary>
    public void LeaveToSuccessor()
    {
        lock (_sync)
        {
            _left = _unbind is null;
            _unbind ??= UnbindCoreAsync();
        }
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

        foreach (ListenerPartition partition in _partitions)
        {
            partition.Forget();
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

    /// <summary>Those of another channel, by its index.</summary>
    internal (ListenerPartition Partition, TransportChannel Channel) Partition(int index) =>
        (_partitions[index], _channels.Channels[index]);

    /// <summary>Carriers: so many more accepted connections are on their way from one channel to another.</summary>
    internal void OnJourney(int count) => Interlocked.Add(ref _onJourney, count);

    public int QueueDepth(int channel)
    {
        int depth = 0;
        foreach (ListenerPartition partition in _partitions)
        {
            depth += partition.Channel.Index == channel ? partition.QueueDepth : 0;
        }

        return depth;
    }

    public void Drain(int hung, int helper)
    {
        foreach (ListenerPartition partition in _partitions)
        {
            if (partition.Channel.Index == hung)
            {
                QueueDrain drain = new(partition, _partitions[helper], _channels.Channels[helper]);
                _drains.Add(drain);
                drain.Channel.Post(_ => drain.Start());
            }
        }
    }

    public void EndDrains(int back)
    {
        foreach (QueueDrain drain in _drains)
        {
            if (drain.Hung.Channel.Index == back)
            {
                drain.Channel.Post(_ => drain.Stop());
            }
        }

        _drains.RemoveAll(drain => drain.Ended.IsCompleted);
    }

    private async Task StartAsync(bool partitioned)
    {
        if (partitioned && _channels.Channels[0].SteeredCpu is >= 0 and { } cpu)
        {
            ListenSockets.SteerTo(_socket, cpu);
        }

        if (_balancer is not null && partitioned)
        {
            Array.ForEach(_partitions, partition => partition.Expect());
        }

        int[] errors = await StartPartitionsAsync(ownQueues: partitioned).ConfigureAwait(false);
        if (partitioned && Array.Exists(errors, error => error == ChannelError.NotSupported))
        {
            // The first socket has something that another one cannot be given: all channels accept from the first.
            TransportLog.NotPartitioned(_endpoint.Logger, EndPoint);
            partitioned = false;
            Array.ForEach(_partitions, partition => partition.Forget());
            errors = await StartPartitionsAsync(ownQueues: false).ConfigureAwait(false);
        }

        if (Array.Find(errors, error => error < 0) is not 0 and int error)
        {
            throw ChannelError.ToException(error, $"Opening a listener partition for {EndPoint}");
        }

        if (EndPoint is IPEndPoint)
        {
            Steer(partitioned);
        }

        if (partitioned)
        {
            _balancer?.Add(this);
        }
    }

    private void Steer(bool partitioned)
    {
        bool cpuSet = _options.CpuSet is not null;
        SteeringChoice choice = SteeringChoice.Of(
            _options.Steering, _channels.Channels.Count, partitioned, _options.ShareAddress, cpuSet);
        if (choice.Mode is MegaPipeSteering.Balanced or MegaPipeSteering.Cpu && !_options.ShareAddress &&
            _channels.Flows.Join(_socket, choice.Mode == MegaPipeSteering.Cpu) is < 0 and int error)
        {
            choice = choice.Refused(ChannelError.Text(error), cpuSet);
        }

        if (choice.Mode == MegaPipeSteering.Hash && _first is { IsTaken: true, IsOurs: true })
        {
            _ = SocketProgram.ReleaseGroup((int)_socket.SafeHandle.DangerousGetHandle()); // the predecessor's program
        }

        TransportLog.Steered(_endpoint.Logger, choice.Weaker ? LogLevel.Information : LogLevel.Debug, EndPoint,
            choice.Mode, choice.Reason);
    }

    /// <summary>
    /// Has the channels that do not accept yet start, from the endpoint's socket or from queues of their own. An error
    /// or 0 for each. One after the other: the order in which sockets listen is their order in the group.
    /// </summary>
    private async Task<int[]> StartPartitionsAsync(bool ownQueues)
    {
        int fd = (int)_socket.SafeHandle.DangerousGetHandle();
        int[] errors = new int[_partitions.Length];
        for (int i = 0; i < errors.Length; i++)
        {
            ListenerPartition partition = _partitions[i];
            bool open = ownQueues && i > _first.More.Length;
            bool ownQueue = open || (i > 0 && i <= _first.More.Length);
            int from = ownQueue && !open ? (int)_first.More[i - 1].SafeHandle.DangerousGetHandle() : fd;
            TaskCompletionSource<int> started = new(TaskCreationOptions.RunContinuationsAsynchronously);
            partition.Channel.Post(_ =>
            {
                try
                {
                    started.SetResult(
                        partition.Handle != 0 ? 0 : partition.Start(from, open, ownQueue, _options.Backlog));
                }
                catch (Exception error)
                {
                    started.SetException(error);
                }
            });
            errors[i] = await started.Task.ConfigureAwait(false);
        }

        return errors;
    }

    private async Task UnbindCoreAsync()
    {
        ListenerEnd end = new(_first, _endpoint, _partitions, _channels.Channels);
        if (_first.Owner != SocketOwner.Inherited && !_left)
        {
            await end.AcceptTheLastAsync().ConfigureAwait(false);
        }

        _balancer?.Remove(this);
        _channels.Flows.Leave(_socket);
        await end.StopPartitionsAsync().ConfigureAwait(false);
        await LeaveBalancerAsync().ConfigureAwait(false);
        CloseSockets();
        await end.UntilTheLastHaveAskedAsync().ConfigureAwait(false);
        _accepted.End();
        MegaPipeEventSource.Log.Unbound(EndPoint.ToString()!);
    }

    /// <summary>Until what others accepted for a channel, or gave to it, has come.</summary>
    private async Task LeaveBalancerAsync()
    {
        foreach (QueueDrain drain in _drains)
        {
            drain.Channel.Post(_ => drain.Stop());
        }

        await Task.WhenAll(_drains.Select(drain => drain.Ended)).ConfigureAwait(false);
        while (Volatile.Read(ref _onJourney) != 0)
        {
            await Task.Delay(1).ConfigureAwait(false); // ends: the kernel brings each, or says that it could not
        }
    }

    [SuppressMessage("Usage", "CA1816", Justification = "Socket has no other way to close without deleting the file.")]
    private void CloseSockets()
    {
        Array.ForEach(_first.More, socket => socket.Dispose());
        if (_left && EndPoint is UnixDomainSocketEndPoint)
        {
            // A Socket that has bound a path removes it when it is disposed: here it is the successor's.
            _socket.SafeHandle.Dispose();
            GC.SuppressFinalize(_socket);
            return;
        }

        _socket.Dispose();
        if (_first is { IsTaken: true, Owner: not SocketOwner.Inherited } && !_left &&
            TakeoverMessages.PathOf(EndPoint) is { } path)
        {
            File.Delete(path);
        }
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
