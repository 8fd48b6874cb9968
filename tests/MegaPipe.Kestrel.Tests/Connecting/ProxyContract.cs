// A YARP gateway with both legs of one kind, between a client and a backend over the runtime's own sockets.
using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Net.WebSockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Yarp.ReverseProxy.Configuration;

namespace MegaPipe.Kestrel.Tests.Connecting;

public abstract class ProxyContract(TransportKind kind)
{
    [Theory]
    [InlineData("http1", "http1")]
    [InlineData("tls", "tls")]
    [InlineData("http1", "h2c")]
    [InlineData("h2", "h2")]
    public async Task Request_EveryProtocol_GoesThrough(string front, string back)
    {
        await using HostHarness backend = await StartBackendAsync(back);
        await using HostHarness gateway = await StartGatewayAsync(backend.EndPoint, front, back);
        HttpClient client = gateway.CreateClient(
            front is "h2" or "h2c" ? HttpVersion.Version20 : HttpVersion.Version11, front is "tls" or "h2");
        byte[] bytes = Client.Pattern(2_000_000);
        for (int i = 0; i < 3; i++)
        {
            Assert.Equal("Hello", await client.GetStringAsync("/").InTime());
            using HttpResponseMessage echo = await client.PostAsync("/echo", new ByteArrayContent(bytes)).InTime();
            Assert.Equal(bytes, await echo.Content.ReadAsByteArrayAsync().InTime());
        }

        Assert.Equal(kind.IsMegaPipe(), LeakCheck.Sum(gateway.Status, "connected") > 0);
    }

    [Fact]
    public async Task WebSocket_GoesThrough()
    {
        await using HostHarness backend = await StartBackendAsync("http1");
        await using HostHarness gateway = await StartGatewayAsync(backend.EndPoint, "http1", "http1");
        using ClientWebSocket socket = new();
        await socket.ConnectAsync(new Uri($"ws://{gateway.EndPoint}/ws"), gateway.CreateInvoker(tls: false), default)
            .InTime();
        byte[] bytes = Client.Pattern(100_000);
        await socket.SendAsync(bytes, WebSocketMessageType.Binary, endOfMessage: true, default).InTime();
        byte[] received = new byte[bytes.Length];
        int count = 0;
        while (count < received.Length)
        {
            count += (await socket.ReceiveAsync(received.AsMemory(count), default).InTime()).Count;
        }

        Assert.Equal(bytes, received);
        await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "bye", default).InTime();
    }

    [Fact]
    public async Task Backend_ResetsInTheMiddle_ClientSeesTheCut()
    {
        using Socket listener = Client.Create(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        await using HostHarness gateway =
            await StartGatewayAsync((IPEndPoint)listener.LocalEndPoint!, "http1", "http1");
        Socket client = await gateway.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        Socket backend = await listener.AcceptAsync().InTime();
        await backend.ReceiveUntilAsync("\r\n\r\n");
        await backend.SendAllAsync("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
        await client.ReceiveUntilAsync("half");
        backend.Reset();
        Assert.Equal(SocketError.ConnectionReset, await client.ReceiveEndAsync() ?? SocketError.ConnectionReset);
    }

    [Fact]
    public async Task Backend_Refuses_BadGateway()
    {
        IPEndPoint nobody;
        using (Socket listener = Client.Create(new IPEndPoint(IPAddress.Loopback, 0)))
        {
            listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            nobody = (IPEndPoint)listener.LocalEndPoint!;
        }

        await using HostHarness gateway = await StartGatewayAsync(nobody, "http1", "http1");
        using HttpResponseMessage response = await gateway.CreateClient().GetAsync("/").InTime();
        Assert.Equal(HttpStatusCode.BadGateway, response.StatusCode);
    }

    [Fact]
    public async Task Client_Leaves_BackendIsTold()
    {
        TaskCompletionSource aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource asked = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness backend = await HostHarness.StartAsync(TransportKind.Sockets, async context =>
        {
            using CancellationTokenRegistration registration =
                context.RequestAborted.Register(() => aborted.TrySetResult());
            asked.TrySetResult();
            await aborted.Task;
        });
        await using HostHarness gateway = await StartGatewayAsync(backend.EndPoint, "http1", "http1");
        Socket client = await gateway.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        await asked.Task.InTime();
        client.Reset();
        await aborted.Task.InTime();
    }

    /// <summary>
    /// End to end: the client reads nothing, so the backend's send waits, and what the gateway holds is bounded.
    /// </summary>
    [Fact]
    public async Task Client_ReadsNothing_BackendWaits()
    {
        long sent = 0;
        await using HostHarness backend = await HostHarness.StartAsync(TransportKind.Sockets, async context =>
        {
            byte[] chunk = new byte[64 * 1024];
            try
            {
                while (Interlocked.Read(ref sent) < 1L << 30)
                {
                    await context.Response.Body.WriteAsync(chunk, context.RequestAborted);
                    Interlocked.Add(ref sent, chunk.Length);
                }
            }
            catch (OperationCanceledException)
            {
            }
        });
        await using HostHarness gateway = await StartGatewayAsync(backend.EndPoint, "http1", "http1");
        Socket client = await gateway.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        await client.ReceiveUntilAsync("\r\n\r\n");
        long before = -1;
        while (before != Interlocked.Read(ref sent))
        {
            before = Interlocked.Read(ref sent);
            await Task.Delay(100);
        }

        Assert.InRange(before, 0, 100 << 20); // the kernel's buffers on both legs, and ours
        client.Reset();
    }

    private static Task<HostHarness> StartBackendAsync(string protocol) => HostHarness.StartAsync(
        TransportKind.Sockets,
        async context =>
        {
            if (context.WebSockets.IsWebSocketRequest)
            {
                using WebSocket socket = await context.WebSockets.AcceptWebSocketAsync();
                byte[] buffer = new byte[16 * 1024];
                while (true)
                {
                    ValueWebSocketReceiveResult received = await socket.ReceiveAsync(buffer.AsMemory(), default);
                    if (received.MessageType == WebSocketMessageType.Close)
                    {
                        await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, "bye", default);
                        return;
                    }

                    await socket.SendAsync(
                        buffer.AsMemory(0, received.Count), received.MessageType, received.EndOfMessage, default);
                }
            }

            if (context.Request.Path == "/echo")
            {
                using MemoryStream body = new();
                await context.Request.Body.CopyToAsync(body);
                await context.Response.Body.WriteAsync(body.ToArray());
                return;
            }

            await context.Response.WriteAsync("Hello");
        },
        setup =>
        {
            setup.App = app => app.UseWebSockets();
            setup.Listen = listen => Protocols.Configure(listen, protocol);
        });

    private Task<HostHarness> StartGatewayAsync(IPEndPoint backend, string front, string back)
    {
        ConcurrentBag<SocketsHttpHandler> handlers = [];
        return HostHarness.StartAsync(
            kind,
            _ => Task.CompletedTask,
            setup =>
            {
                setup.QuietLogs = true;
                setup.Listen = listen => Protocols.Configure(listen, front);
                setup.Services = services =>
                {
                    services.AddRouting();
                    IReverseProxyBuilder proxy = services.AddReverseProxy().LoadFromMemory(
                        [new RouteConfig { RouteId = "all", ClusterId = "one", Match = new() { Path = "{**path}" } }],
                        [Cluster(backend, back)]);
                    if (kind == TransportKind.Sockets)
                    {
                        proxy.ConfigureHttpClient((_, handler) => handlers.Add(handler));
                    }
                    else
                    {
                        proxy.UseMegaPipeClient((_, handler) => handlers.Add(handler));
                    }
                };
                setup.App = app =>
                {
                    // YARP leaves its clients to the collector.
                    app.Lifetime.ApplicationStopped.Register(() => Array.ForEach([.. handlers], one => one.Dispose()));
                    app.UseRouting();
                    app.MapReverseProxy();
#pragma warning disable ASP0014 // Run comes after it here, and would otherwise win
                    app.UseEndpoints(_ => { });
#pragma warning restore ASP0014
                };
            });
    }

    private static ClusterConfig Cluster(IPEndPoint backend, string protocol) => new()
    {
        ClusterId = "one",
        HttpClient = new HttpClientConfig { DangerousAcceptAnyServerCertificate = true },
        HttpRequest = new global::Yarp.ReverseProxy.Forwarder.ForwarderRequestConfig
        {
            Version = protocol is "h2" or "h2c" ? HttpVersion.Version20 : HttpVersion.Version11,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        },
        Destinations = new Dictionary<string, DestinationConfig>
        {
            ["only"] = new()
            {
                Address = $"{(protocol is "tls" or "h2" ? "https" : "http")}://{backend}/",
            },
        },
    };
}
