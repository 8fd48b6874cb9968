// MegaPipeStatus, and the log entry for accepts that fail; ids 101 and 102 have their tests in Configuration, 104 in
// Scheduling.
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Diagnostics")]
public sealed class StatusTests
{
    [Fact]
    public void Status_BeforeTheFirstBind_IsEmpty()
    {
        using ServiceProvider services = new ServiceCollection().AddLogging().AddMegaPipe().BuildServiceProvider();
        MegaPipeStatus status = services.GetRequiredService<MegaPipeStatus>();
        Assert.Equal("none", status.Transport);
        Assert.Null(status.FallbackReason);
        Assert.Empty(status.Options);
        Assert.Empty(status.Features);
        Assert.Empty(status.GetChannels());
    }

    [Fact]
    public async Task Status_WhileServing_HasOptionsFeaturesAndAChannelEach()
    {
        await using HostHarness host = await SchedulingHost.StartAsync(
            context => context.Answer("x"), options => options.Channels = 2);
        MegaPipeStatus status = host.Status!;
        Assert.Equal([0, 1], status.GetChannels().Select(channel => channel.Index));
        Assert.Equal("2", status.Options["Channels"]);
        Assert.Equal("Adaptive", status.Options["Scheduling"]);
        Assert.Contains(status.Features, feature => feature.Name == "ring" && feature.Available);
        Assert.All(status.Features, feature =>
            Assert.Equal(feature.Available, string.IsNullOrEmpty(feature.Reason)));
        Assert.All(status.GetChannels(), channel => Assert.Equal(
            status.GetChannels()[0].Counters.Keys.Order(), channel.Counters.Keys.Order()));
    }

    [Fact]
    public async Task Counters_AfterTraffic_SayWhatHappened()
    {
        const int Connections = 5;
        const int Requests = 20;
        await using HostHarness host = await SchedulingHost.StartAsync(
            context => context.Answer("x"), options => options.Channels = 2);
        for (int i = 0; i < Connections; i++)
        {
            HttpPeer peer = await host.ConnectPeerAsync();
            for (int request = 0; request < Requests; request++)
            {
                await peer.GetAsync("/");
            }
        }

        Assert.Equal(Connections, LeakCheck.Sum(host.Status, "connections"));
        Assert.Equal(Connections, LeakCheck.Sum(host.Status, "accepted"));
        Assert.Equal(0, LeakCheck.Sum(host.Status, "resets"));
        Assert.Equal(0, LeakCheck.Sum(host.Status, "pauses"));
        // A read each; the first of a connection may complete without waiting.
        Assert.True(LeakCheck.Sum(host.Status, "inline") + LeakCheck.Sum(host.Status, "offloaded")
            >= Connections * (Requests - 1));
        Assert.True(LeakCheck.Sum(host.Status, "events") >= 2 * Connections * Requests);
        Assert.True(LeakCheck.Sum(host.Status, "handles_live") >= Connections);
        Assert.True(LeakCheck.Sum(host.Status, "operations_in_flight") >= Connections);
        Assert.Equal(0, LeakCheck.Sum(host.Status, "cq_overflows"));
    }

    [Fact]
    public async Task Accepts_WithoutAFreeHandle_AreLoggedAndRecover()
    {
        const int AcceptFailed = 103;
        const int Handles = 64;
        await using HostHarness host = await SchedulingHost.StartAsync(
            context => context.Answer("x"),
            options =>
            {
                options.Channels = 1;
                options.MaxHandlesPerChannel = Handles;
            });
        List<Socket> sockets = [];
        for (int i = 0; i < Handles + 10; i++)
        {
            sockets.Add(await host.ConnectAsync());
        }

        await host.Logs.Reached(AcceptFailed);
        LogEntry entry = host.Logs.Transport(AcceptFailed)[0];
        Assert.Equal(LogLevel.Error, entry.Level);
        Assert.Contains(host.EndPoint.ToString(), entry.Message, StringComparison.Ordinal);
        Assert.Equal("x", await new HttpPeer(sockets[0]).GetAsync("/"));
        sockets.ForEach(socket => socket.Dispose());
        for (int i = 0; i < 5; i++)
        {
            await host.AssertServesAsync();
        }
    }
}
