// One transport without Kestrel above it: bind, accept and connect, and the leak checks when it is disposed.
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Connections;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Support;

/// <summary>Both ends of one accepted connection.</summary>
public sealed record ConnectedPair(ConnectionContext Server, Socket Client);

public sealed class TransportHarness : IAsyncDisposable
{
    private readonly TransportKind _kind;
    private readonly LeakCheck _leaks = LeakCheck.Start();
    private readonly ServiceProvider _services;
    private readonly List<IConnectionListener> _listeners = [];
    private readonly List<ConnectionContext> _connections = [];
    private ConnectionMover? _mover;
    private readonly ConcurrentBag<Socket> _clients = []; // many tests connect from many threads

    private TransportHarness(TransportKind kind, TransportSettings settings)
    {
        _kind = kind;
        Memory = new TrackingMemoryPoolFactory { BlockBytes = settings.BlockBytes };
        ServiceCollection services = new();
        services.AddLogging(logging => logging.SetMinimumLevel(LogLevel.Trace).AddProvider(Logs));
        if (settings.TrackMemory)
        {
            services.AddSingleton<IMemoryPoolFactory<byte>>(Memory);
        }

        new ServicesOnlyWebHostBuilder(services).UseTransport(kind, settings);
        _services = services.BuildServiceProvider();
        Factory = _services.GetServices<IConnectionListenerFactory>().LastOrDefault()
            ?? throw new InvalidOperationException($"{kind} registered no IConnectionListenerFactory.");
    }

    public LogCapture Logs { get; } = new();

    public TrackingMemoryPoolFactory Memory { get; }

    public IConnectionListenerFactory Factory { get; }

    public IServiceProvider Services => _services;

    public MegaPipeStatus? Status => _services.GetService<MegaPipeStatus>();

    public static TransportHarness Create(TransportKind kind, Action<TransportSettings>? configure = null)
    {
        TransportSettings settings = new();
        configure?.Invoke(settings);
        return new(kind, settings);
    }

    public async Task<IConnectionListener> BindAsync(EndPoint? endPoint = null)
    {
        IConnectionListener listener =
            await Factory.BindAsync(endPoint ?? new IPEndPoint(IPAddress.Loopback, 0)).InTime();
        _listeners.Add(listener);
        Assert.Equal(_kind.StatusOf(), Status?.Transport);

        return listener;
    }

    /// <summary>Connects a client to a listener and accepts it; both ends are disposed with the harness.</summary>
    public async Task<ConnectedPair> ConnectAsync(
        IConnectionListener? listener = null, EndPoint? target = null, Action<Socket>? beforeConnect = null)
    {
        listener ??= await BindAsync();
        Socket client = await ConnectClientAsync(target ?? listener.EndPoint, beforeConnect);
        ConnectionContext server = await AcceptAsync(listener);
        return new(server, client);
    }

    public async Task<Socket> ConnectClientAsync(EndPoint target, Action<Socket>? beforeConnect = null)
    {
        Socket client = Client.Create(target);
        _clients.Add(client);
        beforeConnect?.Invoke(client);
        await client.ConnectAsync(target).InTime();
        return client;
    }

    public async Task<ConnectionContext> AcceptAsync(IConnectionListener listener)
    {
        ConnectionContext? server = await listener.AcceptAsync().InTime();
        Assert.NotNull(server);
        _connections.Add(server);
        MoveAround(server, listener);
        return server;
    }

    /// <summary>Where connections are to move all the time: so does this one.</summary>
    public void MoveAround(ConnectionContext server, IConnectionListener listener)
    {
        if (_kind == TransportKind.MegaPipeMoving)
        {
            (_mover ??= new ConnectionMover()).Add((MegaPipeConnection)server, listener);
        }
    }

    /// <summary>Disposes everything in the order in which Kestrel does.</summary>
    public async Task StopAsync()
    {
        foreach (IConnectionListener listener in _listeners)
        {
            await listener.UnbindAsync().InTime();
        }

        foreach (ConnectionContext connection in _connections)
        {
            await connection.DisposeAsync().InTime();
        }

        _connections.Clear();
        await LeakCheck.AssertIdle(Status);
        foreach (IConnectionListener listener in _listeners)
        {
            await listener.DisposeAsync().InTime();
        }

        _listeners.Clear();
    }

    public async ValueTask DisposeAsync()
    {
        MegaPipeStatus? status = Status;
        _mover?.Dispose();
        foreach (Socket client in _clients)
        {
            client.Dispose();
        }

        await StopAsync();
        await _services.DisposeAsync().InTime();
        await _leaks.AssertNothingLeft(_kind, status);
    }
}
