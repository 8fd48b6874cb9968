// Outgoing connections of one kind, the backend that they go to, and the leak checks when it is disposed.
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Connecting;

/// <summary>Both ends of an outgoing connection.</summary>
public sealed record OutgoingPair(ConnectionContext Connection, Socket Backend);

/// <summary>The same as streams.</summary>
public sealed record StreamPair(Stream Stream, Socket Backend);

/// <summary>
/// The stock ways out (the runtime's sockets, SocketConnectionContextFactory over them, NetworkStream, HttpClient's own
/// connect) and ours, behind one face.
/// </summary>
public sealed class ConnectHarness : IAsyncDisposable
{
    private readonly TransportKind _kind;
    private readonly LeakCheck _leaks = LeakCheck.Start();
    private readonly ServiceProvider? _services;
    private readonly SocketConnectionContextFactory? _stock;
    private readonly List<IDisposable> _owned = [];
    private readonly List<ConnectionContext> _connections = [];

    private ConnectHarness(TransportKind kind, TransportSettings settings)
    {
        _kind = kind;
        if (kind == TransportKind.Sockets)
        {
            SocketConnectionFactoryOptions options = new();
            options.MaxReadBufferSize = settings.MaxReadBufferSize ?? options.MaxReadBufferSize;
            options.MaxWriteBufferSize = settings.MaxWriteBufferSize ?? options.MaxWriteBufferSize;
            _stock = new SocketConnectionContextFactory(options, Logs.CreateLogger("MegaPipe.Kestrel"));
            return;
        }

        ServiceCollection services = new();
        services.AddLogging(logging => logging.SetMinimumLevel(LogLevel.Trace).AddProvider(Logs));
        services.AddSingleton<IMemoryPoolFactory<byte>>(Memory);
        services.AddMegaPipeConnections(options => TransportKinds.Configure(options, kind, settings));
        _services = services.BuildServiceProvider();
        Factory = _services.GetRequiredService<MegaPipeConnectionFactory>();
        Assert.Same(Factory, _services.GetRequiredService<IConnectionFactory>());
        Assert.Equal(kind == TransportKind.MegaPipeFallback, Factory.FallbackReason is not null);
    }

    public LogCapture Logs { get; } = new();

    public TrackingMemoryPoolFactory Memory { get; } = new();

    /// <summary>null for stock.</summary>
    public MegaPipeConnectionFactory? Factory { get; }

    public MegaPipeStatus? Status => _services?.GetService<MegaPipeStatus>();

    public static ConnectHarness Create(TransportKind kind, Action<TransportSettings>? configure = null)
    {
        TransportSettings settings = new();
        configure?.Invoke(settings);
        return new(kind, settings);
    }

    /// <summary>A listening socket that the test accepts from.</summary>
    public Socket Listen(EndPoint? endPoint = null, int backlog = 512)
    {
        endPoint ??= new IPEndPoint(IPAddress.Loopback, 0);
        Socket listener = Client.Create(endPoint);
        _owned.Add(listener);
        listener.Bind(endPoint);
        listener.Listen(backlog);
        return listener;
    }

    /// <summary>Connects, without a backend's accept.</summary>
    public async Task<ConnectionContext> ConnectAsync(EndPoint target, CancellationToken cancellationToken = default)
    {
        ConnectionContext connection = Factory is null
            ? _stock!.Create(await ConnectSocketAsync(target, cancellationToken))
            : await Factory.ConnectAsync(target, cancellationToken);
        lock (_connections)
        {
            _connections.Add(connection);
        }

        Assert.Equal(_kind.IsMegaPipe(), connection is Internal.Connections.MegaPipeConnection);
        return connection;
    }

    public async Task<OutgoingPair> PairAsync(Socket? listener = null)
    {
        listener ??= Listen();
        Task<Socket> accept = listener.AcceptAsync();
        ConnectionContext connection = await ConnectAsync(listener.LocalEndPoint!).InTime();
        return new(connection, Own(await accept.InTime()));
    }

    public async Task<StreamPair> StreamsAsync(Socket? listener = null)
    {
        listener ??= Listen();
        Task<Socket> accept = listener.AcceptAsync();
        Stream stream = Factory is null
            ? new NetworkStream(await ConnectSocketAsync(listener.LocalEndPoint!, default).InTime(), ownsSocket: true)
            : await Factory.ConnectStreamAsync(listener.LocalEndPoint!).InTime();
        return new(Own(stream), Own(await accept.InTime()));
    }

    /// <summary>An HttpClient of this kind, to any backend.</summary>
    public HttpClient CreateClient(Version? version = null, Action<SocketsHttpHandler>? configure = null)
    {
        SocketsHttpHandler handler = new()
        {
            UseProxy = false,
            SslOptions = new SslClientAuthenticationOptions
            {
                RemoteCertificateValidationCallback = (_, certificate, _, _) =>
                    certificate?.GetCertHashString() == TestCertificate.Instance.GetCertHashString(),
            },
        };
        configure?.Invoke(handler);
        return Own(new HttpClient(Factory is null ? handler : new MegaPipeHttpMessageHandler(Factory, handler))
        {
            DefaultRequestVersion = version ?? HttpVersion.Version11,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Timeout = InTimeExtensions.Limit,
        });
    }

    public T Own<T>(T item)
        where T : IDisposable
    {
        lock (_owned)
        {
            _owned.Add(item);
        }

        return item;
    }

    public async ValueTask DisposeAsync()
    {
        MegaPipeStatus? status = Status;
        foreach (IDisposable owned in _owned)
        {
            owned.Dispose();
        }

        foreach (ConnectionContext connection in _connections)
        {
            await connection.DisposeAsync().InTime();
        }

        _stock?.Dispose();
        if (_services is not null)
        {
            await LeakCheck.AssertIdle(status);
            await _services.DisposeAsync().InTime();
        }

        await _leaks.AssertNothingLeft(_kind, status);
        await Eventually.True(() => Memory.BlocksOut == 0, () => $"{Memory.BlocksOut} blocks out");
    }

    private static async Task<Socket> ConnectSocketAsync(EndPoint target, CancellationToken cancellationToken)
    {
        Socket socket = Client.Create(target);
        try
        {
            await socket.ConnectAsync(target, cancellationToken);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
