// The meter "MegaPipe.Kestrel": what it publishes, and that it counts what happened.
using System.Diagnostics.Metrics;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Diagnostics")]
public sealed class MeterTests
{
    /// <summary>Instrument, and the counter of <see cref="MegaPipeChannelStatus"/> that it observes.</summary>
    private static readonly (string Instrument, string Counter)[] s_perChannel =
    [
        ("megapipe.connection.count", "connections"),
        ("megapipe.connection.accepted", "accepted"),
        ("megapipe.connection.reset", "resets"),
        ("megapipe.connection.connected", "connected"),
        ("megapipe.accept.queue", "accept_queue"),
        ("megapipe.steal.in", "steals_in"),
        ("megapipe.steal.out", "steals_out"),
        ("megapipe.group.count", "groups"),
        ("megapipe.group.migrated", "migrations"),
        ("megapipe.transfers", "transfers"),
        ("megapipe.system_calls", "system_calls"),
        ("megapipe.requests", "requests"),
        ("megapipe.events", "events"),
        ("megapipe.dispatches", "dispatches"),
        ("megapipe.wakeups", "wakes"),
        ("megapipe.lease.count", "leases_out"),
        ("megapipe.read.starved", "buffers_starved"),
        ("megapipe.read.paused", "pauses"),
        ("megapipe.continuation.inline", "inline"),
        ("megapipe.continuation.offloaded", "offloaded"),
        ("megapipe.handovers", "hand_overs"),
        ("megapipe.accept.errors", "accept_errors"),
    ];

    [Fact]
    public async Task Meter_HostServes_EveryInstrumentIsPublishedWithUnitAndDescription()
    {
        using MeterProbe probe = new();
        await using HostHarness host = await SchedulingHost.StartAsync(context => context.Answer("x"));
        foreach (string name in (string[])[.. s_perChannel.Select(pair => pair.Instrument),
            "megapipe.pool.grown", "megapipe.carrier.count"])
        {
            Instrument instrument = Assert.Contains(name, probe.Instruments);
            Assert.False(string.IsNullOrEmpty(instrument.Unit), name);
            Assert.False(string.IsNullOrEmpty(instrument.Description), name);
            Assert.NotEmpty(probe.Read(name));
        }

        Assert.All(s_perChannel, pair => Assert.Equal(
            host.Status!.GetChannels().Select(channel => channel.Index),
            probe.Read(pair.Instrument).Select(measurement => measurement.Channel).Order()));
    }

    [Fact]
    public async Task Meter_AfterTraffic_AgreesWithTheChannelsCounters()
    {
        using MeterProbe probe = new();
        await using HostHarness host = await SchedulingHost.StartAsync(context => context.Answer("x"));
        for (int i = 0; i < 20; i++)
        {
            await host.AssertServesAsync();
        }

        await Eventually.True(() => probe.Sum("megapipe.connection.count") == 0);
        // Nothing happens any more but what the peers' ends still cause: compare when two looks are the same.
        foreach ((string instrument, string counter) in s_perChannel)
        {
            await Eventually.True(
                () => probe.Sum(instrument) == LeakCheck.Sum(host.Status, counter),
                () => $"{instrument}: {probe.Sum(instrument)}, {counter}: {LeakCheck.Sum(host.Status, counter)}");
        }

        Assert.Equal(20, probe.Sum("megapipe.connection.accepted"));
        Assert.True(probe.Sum("megapipe.continuation.inline") >= 20);
        Assert.True(probe.Sum("megapipe.events") >= probe.Sum("megapipe.dispatches"));
        Assert.True(probe.Sum("megapipe.system_calls") > 0);
        // At least an accept, a read and a write each.
        Assert.True(probe.Sum("megapipe.requests") >= 2 * 20);
        Assert.True(probe.Sum("megapipe.events") >= 3 * 20);
    }

    [Fact]
    public async Task Histograms_AfterTraffic_AgreeWithTheCounters()
    {
        using MeterProbe probe = new();
        await using HostHarness host = await SchedulingHost.StartAsync(
            context => context.Answer("x"), options => options.Channels = 2);
        HttpPeer peer = await host.ConnectPeerAsync();
        for (int i = 0; i < 50; i++)
        {
            await peer.GetAsync("/");
        }

        await AssertAgree("events", () => (long)probe.Recorded("megapipe.batch.events").Sum);
        await AssertAgree("dispatches", () => probe.Recorded("megapipe.batch.events").Count);
        await AssertAgree("inline", () => probe.Recorded("megapipe.continuation.duration").Count);
        // Requests since the last batch are not recorded yet.
        Assert.InRange(
            probe.Recorded("megapipe.batch.requests").Sum, 50, LeakCheck.Sum(host.Status, "requests"));
        Assert.InRange(probe.Recorded("megapipe.continuation.duration").Sum, 0.000_001, 30);

        Task AssertAgree(string counter, Func<long> recorded) => Eventually.True(
            () => recorded() == LeakCheck.Sum(host.Status, counter),
            () => $"{recorded()} recorded, {LeakCheck.Sum(host.Status, counter)} {counter}");
    }

    /// <summary>Who listens is called when the carrier is about to sleep, and may ask for something.</summary>
    [Fact]
    public async Task Histograms_WhoListensAsksTheChannelForSomething_ItIsDoneBeforeTheCarrierSleeps()
    {
        // Inline: there no watcher finds what waits.
        await using TransportHarness harness = TransportHarness.Create(
            TransportKind.MegaPipeInline, settings => settings.MegaPipe = options => options.Channels = 1);
        IConnectionListener listener = await harness.BindAsync();
        TransportChannel channel = ((MegaPipeConnectionListener)listener).Channels[0];
        TaskCompletionSource asked = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        ConnectedPair pair = await harness.ConnectAsync(listener);
        await Eventually.True(() => channel.IsWaiting);
        int times = 0;
        using MeterListener hears = new();
        hears.InstrumentPublished = static (instrument, self) =>
        {
            if (instrument.Name == "megapipe.batch.events")
            {
                self.EnableMeasurementEvents(instrument);
            }
        };
        hears.SetMeasurementEventCallback<int>((_, _, _, _) =>
        {
            if (ReferenceEquals(Carried.OfThisThread, channel) && Interlocked.Increment(ref times) == 1)
            {
                channel.Post(_ => done.SetResult());
                asked.SetResult();
            }
        });
        hears.Start();
        await pair.Client.SendAllAsync("x"); // nobody reads it, so the carrier has nothing else to do
        await asked.Task.InTime();
        await done.Task.InTime();
    }

    [Fact]
    public async Task Connections_OpenResetAndClose_AreCounted()
    {
        using MeterProbe probe = new();
        await using HostHarness host = await SchedulingHost.StartAsync(
            context => context.Answer("x"), options => options.Channels = 2);
        List<Socket> sockets = [];
        for (int i = 0; i < 10; i++)
        {
            sockets.Add(await host.ConnectAsync());
            await new HttpPeer(sockets[i]).GetAsync("/");
        }

        Assert.Equal(10, probe.Sum("megapipe.connection.count"));
        Assert.Equal(10, probe.Sum("megapipe.connection.accepted"));
        Assert.Equal(0, probe.Sum("megapipe.connection.reset"));
        sockets[..4].ForEach(socket => socket.Reset());
        await Eventually.True(
            () => probe.Sum("megapipe.connection.reset") == 4,
            () => $"{probe.Sum("megapipe.connection.reset")} resets");
        await Eventually.True(() => probe.Sum("megapipe.connection.count") == 6);
        sockets[4..].ForEach(socket => socket.Dispose());
        await Eventually.True(() => probe.Sum("megapipe.connection.count") == 0);
        Assert.Equal(4, probe.Sum("megapipe.connection.reset"));
        Assert.Equal(10, probe.Sum("megapipe.connection.accepted"));
    }

    [Fact]
    public async Task Connections_ResetWhileTheServerSends_AreEachCountedOnce()
    {
        using MeterProbe probe = new();
        await using HostHarness host = await SchedulingHost.StartAsync(
            async context =>
            {
                byte[] chunk = new byte[64 * 1024];
                while (true)
                {
                    await context.Response.Body.WriteAsync(chunk, context.RequestAborted);
                }
            },
            setup: host =>
            {
                host.QuietLogs = false;
                host.Kestrel = options => options.Limits.MinResponseDataRate = null;
            });
        for (int i = 0; i < 20; i++)
        {
            Socket socket = await host.ConnectAsync(
                beforeConnect: client => client.ReceiveBufferSize = 16 * 1024);
            await socket.SendAllAsync(HttpPeer.Get("/"));
            await socket.ReceiveUntilAsync("\r\n\r\n");
            socket.Reset();
        }

        await Eventually.True(() => probe.Sum("megapipe.connection.count") == 0);
        // Reading and sending may both find the reset, and then both log it, as stock does.
        int connections = host.Logs.Transport(LogCapture.ConnectionReset)
            .Select(entry => entry.Message).Distinct().Count();
        Assert.True(connections > 0);
        Assert.Equal(connections, probe.Sum("megapipe.connection.reset"));
    }

    [Fact]
    public async Task Reads_PausedByBackPressure_AreCountedAndLeasesGoBack()
    {
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using MeterProbe probe = new();
        await using HostHarness host = await SchedulingHost.StartAsync(
            async context =>
            {
                await release.Task;
                await context.Request.Body.CopyToAsync(Stream.Null);
                await context.Answer("done");
            },
            setup: host =>
            {
                host.Transport.MaxReadBufferSize = 64 * 1024;
                host.Kestrel = options => options.Limits.MinRequestBodyDataRate = null;
            });
        const int Bytes = 1_000_000;
        Socket socket = await host.ConnectAsync();
        await socket.SendAllAsync($"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {Bytes}\r\n\r\n");
        Task send = Task.Run(() => socket.SendAllAsync(new byte[Bytes]));
        await Eventually.True(() => probe.Sum("megapipe.read.paused") >= 1);
        await Eventually.True(() => probe.Sum("megapipe.lease.count") > 0);
        release.SetResult();
        await send.InTime();
        Assert.Equal((200, "done"), await new HttpPeer(socket).ReceiveAsync());
        await Eventually.True(() => probe.Sum("megapipe.lease.count") == 0);
    }

    [Fact]
    public async Task Scheduling_HandOversOffloadsAndCarriers_AreCounted()
    {
        using MeterProbe probe = new();
        await using HostHarness host = await SchedulingHost.StartAsync(
            context =>
            {
                Thread.Sleep(20);
                return context.Answer("x");
            },
            options => options.Channels = 1);
        long handOvers = probe.Sum("megapipe.handovers");
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async _ =>
        {
            HttpPeer peer = await host.ConnectPeerAsync();
            for (int i = 0; i < 8; i++)
            {
                await peer.GetAsync("/");
            }
        }));
        Assert.True(probe.Sum("megapipe.handovers") > handOvers);
        Assert.True(probe.Sum("megapipe.continuation.offloaded") > 0);
        Assert.True(probe.Sum("megapipe.continuation.inline") > 0);
        await Eventually.True(() => probe.Sum("megapipe.carrier.count", "carrying") == 1);
        Assert.True(probe.Sum("megapipe.carrier.count") >= 2);
    }

    [Fact]
    public async Task Wakeups_HandlersContinueOnPoolThreads_AboutOneEach()
    {
        const int Requests = 50;
        using MeterProbe probe = new();
        await using HostHarness host = await SchedulingHost.StartAsync(
            async context =>
            {
                await Task.Delay(1);
                await context.Answer("x");
            },
            options => options.Channels = 1);
        HttpPeer peer = await host.ConnectPeerAsync();
        await peer.GetAsync("/");
        long before = probe.Sum("megapipe.wakeups");
        for (int i = 0; i < Requests; i++)
        {
            await peer.GetAsync("/");
        }

        Assert.InRange(probe.Sum("megapipe.wakeups") - before, 1, 2 * Requests);
    }

    [Fact]
    public async Task Host_Stopped_ItsChannelsAreNotMeasuredAnyMore()
    {
        using MeterProbe probe = new();
        await using (HostHarness host = await SchedulingHost.StartAsync(context => context.Answer("x")))
        {
            await host.AssertServesAsync();
            Assert.NotEmpty(probe.Read("megapipe.connection.accepted"));
        }

        Assert.Empty(probe.Read("megapipe.connection.accepted"));
        Assert.NotEmpty(probe.Read("megapipe.carrier.count"));
    }
}
