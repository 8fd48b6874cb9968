// The health checks: what is degraded, and that readiness says no before the server stops.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Diagnostics.HealthChecks;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Diagnostics")]
public sealed class HealthTests
{
    private readonly Clock _clock = new();

    private Task<HostHarness> StartAsync(
        Microsoft.AspNetCore.Http.RequestDelegate? handler = null, Action<MegaPipeTransportOptions>? transport = null,
        Action<MegaPipeHealthOptions>? health = null, TransportKind kind = TransportKind.MegaPipe) =>
        SchedulingHost.StartAsync(
            handler ?? (context => context.Answer("x")), transport, kind,
            host =>
            {
                host.Services += services =>
                {
                    services.AddRoutingCore();
                    services.AddHealthChecks().AddMegaPipe(health);
                    services.AddSingleton<TimeProvider>(_clock);
                };
                host.App = app => app.UseHealthChecks("/ready", new HealthCheckOptions
                {
                    Predicate = check => check.Tags.Contains("ready"),
                });
            });

    private static async Task<HealthReportEntry> CheckAsync(HostHarness host, string name = "megapipe") =>
        (await host.Services.GetRequiredService<HealthCheckService>().CheckHealthAsync()).Entries[name];

    [Fact]
    public async Task WhileServing_HealthyWithData()
    {
        await using HostHarness host = await StartAsync(transport: options => options.Channels = 2);
        using Socket socket = await host.ConnectAsync();
        await new HttpPeer(socket).GetAsync("/");
        HealthReportEntry entry = await CheckAsync(host);
        Assert.Equal(HealthStatus.Healthy, entry.Status);
        Assert.Equal("megapipe", entry.Data["transport"]);
        Assert.Equal(2, entry.Data["channels"]);
        Assert.Equal(1L, entry.Data["connections"]);
        Assert.Equal(HealthStatus.Healthy, (await CheckAsync(host, "megapipe-ready")).Status);
    }

    [Fact]
    public async Task FallbackServes_DegradedWithTheReason()
    {
        await using HostHarness host = await StartAsync(kind: TransportKind.MegaPipeFallback);
        HealthReportEntry entry = await CheckAsync(host);
        Assert.Equal(HealthStatus.Degraded, entry.Status);
        Assert.Contains(host.Status!.FallbackReason!, entry.Description, StringComparison.Ordinal);
        Assert.Equal("sockets", entry.Data["transport"]);
        Assert.Equal(HealthStatus.Healthy, (await CheckAsync(host, "megapipe-ready")).Status);
    }

    [Fact]
    public async Task BeforeTheFirstBind_NotReady()
    {
        ServiceCollection services = new();
        services.AddLogging();
        services.AddSingleton<Microsoft.Extensions.Hosting.IHostApplicationLifetime, Lifetime>();
        services.AddHealthChecks().AddMegaPipe();
        await using ServiceProvider provider = services.BuildServiceProvider();
        HealthReport report = await provider.GetRequiredService<HealthCheckService>().CheckHealthAsync();
        Assert.Equal(HealthStatus.Healthy, report.Entries["megapipe"].Status);
        Assert.Equal(HealthStatus.Unhealthy, report.Entries["megapipe-ready"].Status);
    }

    [Fact]
    public async Task AcceptsFail_DegradedForAWhile()
    {
        const int Handles = 64;
        await using HostHarness host = await StartAsync(transport: options =>
        {
            options.Channels = 1;
            options.MaxHandlesPerChannel = Handles;
        });
        Assert.Equal(HealthStatus.Healthy, (await CheckAsync(host)).Status);
        List<Socket> sockets = [];
        for (int i = 0; i < Handles + 10; i++)
        {
            sockets.Add(await host.ConnectAsync());
        }

        await Eventually.True(() => LeakCheck.Sum(host.Status, "accept_errors") > 0);
        Assert.Equal(HealthStatus.Degraded, (await CheckAsync(host)).Status);
        sockets.ForEach(socket => socket.Dispose());
        // Accepts that were to be tried again may fail once more; then they do no longer.
        await Eventually.True(() =>
        {
            _clock.Advance(TimeSpan.FromSeconds(31));
            return CheckAsync(host).GetAwaiter().GetResult().Status == HealthStatus.Healthy;
        });
    }

    [Fact]
    public async Task ReadsWithoutABuffer_DegradedWhenThatGoesOnForLong()
    {
        long starved = 0;
        MegaPipeStatus status = new() { Transport = "megapipe" };
        status.SetChannels(() =>
        [
            new MegaPipeChannelStatus(0, new Dictionary<string, long>
            {
                ["connections"] = 1, ["hand_overs"] = 0, ["accept_errors"] = 0, ["buffers_starved"] = starved,
            }),
        ]);
        TransportHealth health = new(status, Options.Create(new MegaPipeHealthOptions()), _clock);
        foreach ((int grows, HealthStatus expected) in new[]
        {
            (0, HealthStatus.Healthy), (5, HealthStatus.Healthy), (1, HealthStatus.Healthy), (1, HealthStatus.Degraded),
            (9, HealthStatus.Degraded), (0, HealthStatus.Healthy), (1, HealthStatus.Healthy),
        })
        {
            starved += grows;
            _clock.Set(TimeSpan.FromHours(grows % 2 == 0 ? -3 : 2));
            Assert.Equal(expected, (await health.CheckHealthAsync(new HealthCheckContext())).Status);
            _clock.Advance(TimeSpan.FromSeconds(5));
        }
    }

    [Fact]
    public async Task CarriersExhausted_DegradedUntilTheyAreBack()
    {
        using ManualResetEventSlim release = new();
        await using HostHarness host = await StartAsync(
            context =>
            {
                release.Wait(InTimeExtensions.Limit);
                return context.Answer("x");
            },
            options =>
            {
                options.Channels = 1;
                options.MaxCarriers = Internal.Carrying.CarrierPool.Instance.LiveCount;
            });
        List<HttpPeer> peers = [];
        HealthStatus found = HealthStatus.Healthy;
        for (int i = 0; i < 200 && found == HealthStatus.Healthy; i++)
        {
            peers.Add(await host.ConnectPeerAsync());
            await peers[i].SendAsync(HttpPeer.Get("/"));
            await Task.Delay(25); // longer than a channel retreats
            found = (await CheckAsync(host)).Status;
        }

        release.Set();
        Assert.Equal(HealthStatus.Degraded, found);
        foreach (HttpPeer peer in peers)
        {
            await peer.ReceiveAsync();
        }

        await Eventually.True(() => CheckAsync(host).GetAwaiter().GetResult().Status == HealthStatus.Healthy);
    }

    [Fact]
    public async Task HostStops_NotReadyWhileItStillAccepts()
    {
        await using HostHarness host = await StartAsync(
            health: options => options.DrainDelay = TimeSpan.FromMinutes(1));
        Assert.Equal(HttpStatusCode.OK, await ReadyAsync(host));
        using CancellationTokenSource hurry = new();
        Task stop = host.StopAsync(hurry.Token);
        try
        {
            await Eventually.True(
                () => ReadyAsync(host).GetAwaiter().GetResult() == HttpStatusCode.ServiceUnavailable);
            await host.AssertServesAsync();
            Assert.False(stop.IsCompleted);
        }
        finally
        {
            await hurry.CancelAsync();
            await stop;
        }
    }

    private static async Task<HttpStatusCode> ReadyAsync(HostHarness host)
    {
        using HttpClient client = host.CreateClient();
        using HttpResponseMessage response = await client.GetAsync("/ready");
        return response.StatusCode;
    }

    private sealed class Clock : TimeProvider
    {
        private DateTimeOffset _now = DateTimeOffset.UnixEpoch;
        private TimeSpan _timeOfDay;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public void Advance(TimeSpan time) => _now += time;

        /// <summary>Somebody sets the clock, which is no time that has passed.</summary>
        public void Set(TimeSpan change) => _timeOfDay += change;

        public override DateTimeOffset GetUtcNow() => _now + _timeOfDay;

        public override long GetTimestamp() => _now.Ticks;
    }

    private sealed class Lifetime : Microsoft.Extensions.Hosting.IHostApplicationLifetime
    {
        public CancellationToken ApplicationStarted => default;

        public CancellationToken ApplicationStopping => default;

        public CancellationToken ApplicationStopped => default;

        public void StopApplication()
        {
        }
    }
}
