// A web application on Kestrel over one transport, its clients, and the leak checks when it is disposed.
using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Support;

/// <summary>What a test may change of its host.</summary>
public sealed class HostSetup
{
    public TransportSettings Transport { get; } = new();

    public Action<KestrelServerOptions>? Kestrel { get; set; }

    /// <summary>Configures the one loopback endpoint; not called when <see cref="Endpoints"/> is set.</summary>
    public Action<ListenOptions>? Listen { get; set; }

    /// <summary>Replaces the loopback endpoint.</summary>
    public Action<KestrelServerOptions>? Endpoints { get; set; }

    public Action<IServiceCollection>? Services { get; set; }

    public Action<WebApplication>? App { get; set; }

    /// <summary>Keeps only warnings and errors.</summary>
    public bool QuietLogs { get; set; }

    public TimeSpan ShutdownTimeout { get; set; } = TimeSpan.FromSeconds(20);
}

public sealed class HostHarness : IAsyncDisposable
{
    private readonly TransportKind _kind;
    private readonly LeakCheck _leaks;
    private readonly WebApplication _app;
    private readonly ConcurrentBag<IDisposable> _clients = []; // many tests connect from many threads
    private bool _stopped;

    private HostHarness(TransportKind kind, LeakCheck leaks, WebApplication app, LogCapture logs)
    {
        _kind = kind;
        _leaks = leaks;
        _app = app;
        Logs = logs;
    }

    public LogCapture Logs { get; }

    public TrackingMemoryPoolFactory Memory { get; private init; } = new();

    public IServiceProvider Services => _app.Services;

    public MegaPipeStatus? Status => _app.Services.GetService<MegaPipeStatus>();

    public IReadOnlyList<string> Addresses =>
        [.. _app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses];

    public Uri BaseAddress => new(Addresses[0]);

    public IPEndPoint EndPoint => new(IPAddress.Loopback, BaseAddress.Port);

    public static async Task<HostHarness> StartAsync(
        TransportKind kind, RequestDelegate handler, Action<HostSetup>? configure = null)
    {
        HostSetup setup = new();
        configure?.Invoke(setup);
        LeakCheck leaks = LeakCheck.Start();
        LogCapture logs = new();
        TrackingMemoryPoolFactory memory = new();
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.Logging.SetMinimumLevel(setup.QuietLogs ? LogLevel.Warning : LogLevel.Trace).AddProvider(logs);
        builder.WebHost.UseKestrelCore();
        builder.WebHost.UseTransport(kind, setup.Transport);
        setup.Services?.Invoke(builder.Services);
        if (setup.Transport.TrackMemory)
        {
            builder.Services.AddSingleton<Microsoft.AspNetCore.Connections.IMemoryPoolFactory<byte>>(memory);
        }

        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = setup.ShutdownTimeout);
        builder.WebHost.ConfigureKestrel(options =>
        {
            setup.Kestrel?.Invoke(options);
            if (setup.Endpoints is not null)
            {
                setup.Endpoints(options);
            }
            else
            {
                options.Listen(IPAddress.Loopback, 0, listen => setup.Listen?.Invoke(listen));
            }
        });
        WebApplication app = builder.Build();
        HostHarness host = new(kind, leaks, app, logs) { Memory = memory };
        try
        {
            setup.App?.Invoke(app);
            app.Run(handler);
            await app.StartAsync().InTime();
            Assert.Equal(kind.StatusOf(), host.Status?.Transport);

            return host;
        }
        catch
        {
            await app.DisposeAsync();
            await leaks.AssertNothingLeft(kind, null);
            throw;
        }
    }

    /// <summary>A client whose connections go to this host, whatever host name the request has.</summary>
    public HttpClient CreateClient(
        Version? version = null, bool tls = false, EndPoint? target = null,
        Action<SocketsHttpHandler>? configure = null)
    {
        EndPoint endPoint = target ?? EndPoint;
        SocketsHttpHandler handler = new()
        {
            UseProxy = false,
            AutomaticDecompression = DecompressionMethods.None,
            ConnectCallback = async (_, token) =>
            {
                Socket socket = Client.Create(endPoint);
                try
                {
                    await socket.ConnectAsync(endPoint, token);
                    return new NetworkStream(socket, ownsSocket: true);
                }
                catch
                {
                    socket.Dispose();
                    throw;
                }
            },
            SslOptions = new SslClientAuthenticationOptions
            {
                RemoteCertificateValidationCallback = (_, certificate, _, _) =>
                    certificate?.GetCertHashString() == TestCertificate.Instance.GetCertHashString(),
            },
        };
        configure?.Invoke(handler);
        HttpClient client = new(handler)
        {
            BaseAddress = new Uri($"{(tls ? "https" : "http")}://localhost/"),
            DefaultRequestVersion = version ?? HttpVersion.Version11,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
            Timeout = InTimeExtensions.Limit,
        };
        _clients.Add(client);
        return client;
    }

    /// <summary>The same way to this host for clients that are not HttpClient.</summary>
    public HttpMessageInvoker CreateInvoker(bool tls) => CreateClient(tls: tls);

    public async Task<Socket> ConnectAsync(EndPoint? target = null, Action<Socket>? beforeConnect = null)
    {
        Socket socket = Client.Create(target ?? EndPoint);
        _clients.Add(socket);
        beforeConnect?.Invoke(socket);
        await socket.ConnectAsync(target ?? EndPoint).InTime();
        return socket;
    }

    /// <summary>A new connection's GET answered 200: the host still serves.</summary>
    public async Task AssertServesAsync(string path = "/", EndPoint? target = null)
    {
        Socket socket = await ConnectAsync(target);
        await socket.SendAllAsync($"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        string response = System.Text.Encoding.ASCII.GetString(await socket.ReceiveToEndAsync());
        Assert.StartsWith("HTTP/1.1 200 ", response, StringComparison.Ordinal);
    }

    public async Task StopAsync(CancellationToken token = default)
    {
        _stopped = true;
        await _app.StopAsync(token).InTime();
    }

    public async ValueTask DisposeAsync()
    {
        MegaPipeStatus? status = Status;
        foreach (IDisposable client in _clients)
        {
            client.Dispose();
        }

        if (!_stopped)
        {
            await StopAsync();
        }

        await LeakCheck.AssertIdle(status);
        await _app.DisposeAsync().InTime();
        await _leaks.AssertNothingLeft(_kind, status);
    }
}
