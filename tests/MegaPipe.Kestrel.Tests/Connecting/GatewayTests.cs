// Both sides of a request on one channel: handlers that call backends, block on them, and are their own backend.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Connecting;

[Trait("Area", "Gateway")]
public sealed class GatewayTests
{
    /// <summary>Nothing is long, so where a continuation runs depends on no clock.</summary>
    private static void Patient(MegaPipeTransportOptions options)
    {
        options.Channels = 2;
        options.InlineBudget = TimeSpan.FromSeconds(1);
        options.HandOverAfter = TimeSpan.FromSeconds(10);
    }

    [Theory]
    [InlineData(MegaPipeScheduling.Adaptive)]
    [InlineData(MegaPipeScheduling.Inline)]
    public async Task Handler_AwaitsACall_RunsOnItsChannelBeforeAndAfter(MegaPipeScheduling scheduling)
    {
        const int Requests = 100;
        await using HostHarness backend = await HostHarness.StartAsync(
            TransportKind.Sockets, context => context.Answer("Hello"));
        int home = 0;
        await using HostHarness gateway = await StartAsync(
            async context =>
            {
                TransportChannel channel = ChannelOf(context);
                bool before = channel.IsCarriedByThisThread;
                string answer = await Client(context).GetStringAsync(backend.BaseAddress);
                home += before && channel.IsCarriedByThisThread ? 1 : 0;
                await context.Answer(answer);
            },
            options =>
            {
                Patient(options);
                options.Scheduling = scheduling;
            });
        for (int connection = 0; connection < 4; connection++)
        {
            // Connections are made on the thread pool: what waits for one goes on there.
            HttpPeer peer = await gateway.ConnectPeerAsync();
            Assert.Equal("Hello", await peer.GetAsync("/"));
            Assert.Equal("Hello", await peer.GetAsync("/"));
            home = 0;
            for (int i = 0; i < Requests; i++)
            {
                Assert.Equal("Hello", await peer.GetAsync("/"));
            }

            Assert.Equal(Requests, home);
        }

        // One for each channel that had a request, and of these one each that came too late for its request.
        Assert.InRange(LeakCheck.Sum(gateway.Status, "connected"), 1, 4);
    }

    /// <summary>The call's answer comes on the channel whose carrier is blocked: another one takes it over.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Handlers_BlockOnCallsToTheirOwnChannel_AllAreAnswered(bool synchronous)
    {
        Uri? self = null;
        await using HostHarness gateway = await StartAsync(
            context =>
            {
                if (context.Request.Path == "/inner")
                {
                    return context.Answer("inner");
                }

                if (!synchronous)
                {
                    return context.Answer(Client(context).GetStringAsync(new Uri(self!, "/inner")).Result);
                }

                using HttpRequestMessage request = new(HttpMethod.Get, new Uri(self!, "/inner"));
                using HttpResponseMessage response = Client(context).Send(request);
                using StreamReader body = new(response.Content.ReadAsStream());
                return context.Answer(body.ReadToEnd());
            },
            options => options.Channels = 1);
        self = gateway.BaseAddress;
        await Task.WhenAll(Enumerable.Range(0, 16).Select(async _ =>
        {
            HttpPeer peer = await gateway.ConnectPeerAsync();
            for (int i = 0; i < 10; i++)
            {
                Assert.Equal("inner", await peer.GetAsync("/outer"));
            }
        })).InTime();
    }

    [Fact]
    public async Task DelegatingHandler_Blocks_OthersGoOn()
    {
        await using HostHarness backend = await HostHarness.StartAsync(
            TransportKind.Sockets, context => context.Answer("Hello"));
        using ManualResetEventSlim release = new();
        await using HostHarness gateway = await StartAsync(
            async context => await context.Answer(await Client(context).GetStringAsync(
                new Uri(backend.BaseAddress, context.Request.Path))),
            options => options.Channels = 1,
            builder => builder.AddHttpMessageHandler(() => new BlockingHandler(release)));
        HttpPeer blocked = await gateway.ConnectPeerAsync();
        await blocked.SendAsync(HttpPeer.Get("/block"));
        HttpPeer other = await gateway.ConnectPeerAsync();
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal("Hello", await other.GetAsync("/"));
        }

        release.Set();
        Assert.Equal((200, "Hello"), await blocked.ReceiveAsync());
    }

    [Fact]
    public async Task Connect_FromACarrier_LivesOnItsChannelAndFromElsewhereWhereFewestAre()
    {
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        await using HostHarness gateway = await StartAsync(
            async context =>
            {
                TransportChannel channel = ChannelOf(context);
                MegaPipeConnectionFactory factory =
                    context.RequestServices.GetRequiredService<MegaPipeConnectionFactory>();
                ConnectionContext connection = await factory.ConnectAsync(listener.LocalEndPoint!);
                await context.Answer($"{((MegaPipeConnection)connection).Channel == channel} {channel.Index}");
                await connection.DisposeAsync();
            },
            Patient);
        for (int i = 0; i < 8; i++)
        {
            HttpPeer peer = await gateway.ConnectPeerAsync();
            Assert.StartsWith("True", await peer.GetAsync("/"), StringComparison.Ordinal);
        }

        MegaPipeConnectionFactory elsewhere = gateway.Services.GetRequiredService<MegaPipeConnectionFactory>();
        ConnectionContext[] connections = await Task.WhenAll(Enumerable.Range(0, 40).Select(
            async _ => await elsewhere.ConnectAsync(listener.LocalEndPoint!))).InTime();
        int first = connections.Count(connection => ((MegaPipeConnection)connection).Channel.Index == 0);
        Assert.InRange(first, 8, 32); // 20, but for the gateway's own eight and what the counts lag behind
        foreach (ConnectionContext connection in connections)
        {
            await connection.DisposeAsync().InTime();
        }
    }

    private static TransportChannel ChannelOf(HttpContext context) =>
        ((MegaPipeConnection)context.Features.GetRequiredFeature<IConnectionSocketFeature>()).Channel;

    private static HttpClient Client(HttpContext context) =>
        context.RequestServices.GetRequiredService<IHttpClientFactory>().CreateClient("backend");

    private static Task<HostHarness> StartAsync(
        RequestDelegate handler, Action<MegaPipeTransportOptions> configure,
        Action<IHttpClientBuilder>? client = null) =>
        SchedulingHost.StartAsync(handler, configure, setup: host =>
        {
            Action<IServiceCollection>? services = host.Services;
            host.Services = collection =>
            {
                services?.Invoke(collection);
                IHttpClientBuilder builder = collection.AddHttpClient("backend")
                    .UseSocketsHttpHandler((handler, _) => handler.UseProxy = false).UseMegaPipe();
                client?.Invoke(builder);
            };
        });

    private sealed class BlockingHandler(ManualResetEventSlim release) : DelegatingHandler
    {
        protected override Task<HttpResponseMessage> SendAsync(
            HttpRequestMessage request, CancellationToken cancellationToken)
        {
            if (request.RequestUri!.AbsolutePath == "/block")
            {
                release.Wait(InTimeExtensions.Limit, CancellationToken.None);
            }

            return base.SendAsync(request, cancellationToken);
        }
    }
}
