// HttpClient over outgoing connections, to a stock Kestrel: bodies, protocols, TLS, pools, cancellation.
using System.Net;
using System.Security.Cryptography;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Connecting;

public abstract class HttpClientContract(TransportKind kind)
{
    [Theory]
    [InlineData("http1")]
    [InlineData("tls")]
    [InlineData("h2c")]
    [InlineData("h2")]
    public async Task Request_EveryProtocol_BodiesGoBothWays(string protocol)
    {
        await using HostHarness backend = await StartAsync(protocol);
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        HttpClient client = Client(harness, backend, protocol);
        Assert.Equal("Hello", await client.GetStringAsync("/").InTime());
        byte[] bytes = Support.Client.Pattern(3_000_000);
        using HttpResponseMessage echo = await client.PostAsync("/echo", new ByteArrayContent(bytes)).InTime();
        Assert.Equal(bytes, await echo.Content.ReadAsByteArrayAsync().InTime());
    }

    [Theory]
    [InlineData("http1")]
    [InlineData("tls")]
    [InlineData("h2")]
    public async Task Requests_ManyAtOnce_EachGetsItsAnswer(string protocol)
    {
        await using HostHarness backend = await StartAsync(protocol);
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        HttpClient client = Client(harness, backend, protocol);
        await Task.WhenAll(Enumerable.Range(0, 64).Select(async i =>
        {
            for (int j = 0; j < 4; j++)
            {
                byte[] bytes = Support.Client.Pattern(20_000 + (i * 100), i + j);
                using HttpResponseMessage echo = await client.PostAsync("/echo", new ByteArrayContent(bytes));
                Assert.Equal(SHA256.HashData(bytes), SHA256.HashData(await echo.Content.ReadAsByteArrayAsync()));
            }
        })).InTime();
    }

    [Fact]
    public async Task Requests_OneAfterTheOther_ShareConnections()
    {
        await using HostHarness backend = await StartAsync("http1");
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        HttpClient client = Client(harness, backend, "http1");
        HashSet<string> ids = [];
        for (int i = 0; i < 50; i++)
        {
            ids.Add(await client.GetStringAsync("/id").InTime());
        }

        // One pool for each channel, whichever thread asks.
        Assert.InRange(ids.Count, 1, Math.Max(1, harness.Factory?.ChannelCount ?? 1));
    }

    [Fact]
    public async Task MaxConnectionsPerServer_ManyAtOnce_IsTheLimitOfAllPools()
    {
        await using HostHarness backend = await StartAsync("http1");
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        HttpClient client = Client(harness, backend, "http1", handler => handler.MaxConnectionsPerServer = 3);
        string[] ids = await Task.WhenAll(Enumerable.Range(0, 100).Select(async _ =>
        {
            await Task.Yield();
            return await client.GetStringAsync("/id");
        })).InTime();
        Assert.InRange(ids.Distinct().Count(), 1, 3);
    }

    [Fact]
    public async Task Request_Canceled_EndsAndTheClientGoesOn()
    {
        TaskCompletionSource aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness backend = await StartAsync("http1", aborted);
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        HttpClient client = Client(harness, backend, "http1");
        using CancellationTokenSource cancel = new();
        Task<string> request = client.GetStringAsync("/never", cancel.Token);
        await Eventually.True(() => backend.Logs.Entries.Any(entry => entry.Message == "never answers"));
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => request.InTime());
        await aborted.Task.InTime(); // the connection went with the request
        Assert.Equal("Hello", await client.GetStringAsync("/").InTime());
    }

    [Fact]
    public async Task Send_Synchronous_Answers()
    {
        await using HostHarness backend = await StartAsync("http1");
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        HttpClient client = Client(harness, backend, "http1");
        string text = await Task.Run(() =>
        {
            using HttpRequestMessage request = new(HttpMethod.Get, "/");
            using HttpResponseMessage response = client.Send(request);
            using StreamReader reader = new(response.Content.ReadAsStream());
            return reader.ReadToEnd();
        }).InTime();
        Assert.Equal("Hello", text);
    }

    [Fact]
    public async Task Proxy_Tls_TunnelCarriesIt()
    {
        await using HostHarness backend = await StartAsync("tls");
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        TunnelProxy proxy = harness.Own(new TunnelProxy());
        HttpClient client = Client(harness, backend, "tls", handler =>
        {
            handler.UseProxy = true;
            handler.Proxy = new WebProxy($"http://127.0.0.1:{proxy.Port}");
        });
        Assert.Equal("Hello", await client.GetStringAsync("/").InTime());
        Assert.Equal(1, proxy.Tunnels);
    }

    private static HttpClient Client(
        ConnectHarness harness, HostHarness backend, string protocol, Action<SocketsHttpHandler>? configure = null)
    {
        HttpClient client = harness.CreateClient(
            protocol is "h2" or "h2c" ? HttpVersion.Version20 : HttpVersion.Version11, configure);
        string scheme = protocol is "tls" or "h2" ? "https" : "http";
        client.BaseAddress = new Uri($"{scheme}://127.0.0.1:{backend.EndPoint.Port}/");
        return client;
    }

    private static Task<HostHarness> StartAsync(string protocol, TaskCompletionSource? aborted = null) =>
        HostHarness.StartAsync(
            TransportKind.Sockets,
            async context =>
            {
                switch (context.Request.Path.Value)
                {
                    case "/echo":
                        // Not while it is read: HttpClient reads no answer before all of its request is sent.
                        using (MemoryStream body = new())
                        {
                            await context.Request.Body.CopyToAsync(body);
                            await context.Response.Body.WriteAsync(body.ToArray());
                        }

                        break;
                    case "/id":
                        await context.Response.WriteAsync(context.Connection.Id);
                        break;
                    case "/never":
                        Log(context);
                        await Task.Delay(Timeout.Infinite, context.RequestAborted).ContinueWith(
                            static _ => { }, TaskScheduler.Default);
                        aborted?.TrySetResult();
                        break;
                    default:
                        await context.Response.WriteAsync("Hello");
                        break;
                }
            },
            setup => setup.Listen = listen => Protocols.Configure(listen, protocol));

    private static void Log(HttpContext context) =>
        Microsoft.Extensions.Logging.LoggerExtensions.LogWarning(
            (Microsoft.Extensions.Logging.ILogger)context.RequestServices.GetService(
                typeof(Microsoft.Extensions.Logging.ILogger<HttpClientContract>))!,
            "never answers");
}
