// Who blocks: the transport names the endpoint whose request kept a thread, however it got there.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Diagnostics")]
public sealed class BlockingReportTests
{
    private const int Blocked = 114;

    /// <summary>Ten times what takes the channel away.</summary>
    private static readonly TimeSpan s_long = TimeSpan.FromMilliseconds(60);

    private static Task<HostHarness> StartAsync(
        Action<IEndpointRouteBuilder> map, Action<MegaPipeTransportOptions>? configure = null,
        Action<HostSetup>? setup = null) =>
        SchedulingHost.StartAsync(
            context => context.Answer("none"),
            options =>
            {
                options.Channels = 1;
                configure?.Invoke(options);
            },
            setup: host =>
            {
                host.Services += services => services.AddRoutingCore();
                host.App = app =>
                {
                    app.UseRouting();
                    // Endpoints mapped at the top would run behind the harness's handler, which ends the pipeline.
#pragma warning disable ASP0014
                    app.UseEndpoints(map);
#pragma warning restore ASP0014
                };
                setup?.Invoke(host);
            });

    private static MegaPipeBlockedEndpoint? Find(HostHarness host, string title) =>
        host.Status!.GetBlocked().SingleOrDefault(row => row.Title == title);

    /// <summary>
    /// Has a new connection block, again and again, until the row is as expected: on a busy machine the watcher may
    /// come too late to see one, and a channel that was taken twice in 20 ms has its requests on the pool.
    /// </summary>
    private static async Task<(MegaPipeBlockedEndpoint Row, int Sent)> BlockUntilAsync(
        HostHarness host, string path, string title, Func<MegaPipeBlockedEndpoint, bool> expected)
    {
        int sent = 0;
        long end = Environment.TickCount64 + (long)InTimeExtensions.Limit.TotalMilliseconds;
        while (Environment.TickCount64 < end)
        {
            await (await host.ConnectPeerAsync()).GetAsync(path);
            sent++;
            await Task.Delay(50);
            if (Find(host, title) is { StuckNow: 0 } row && expected(row))
            {
                return (row, sent);
            }
        }

        throw new TimeoutException($"{sent} requests: {Find(host, title)}");
    }

    private static Task Sleep(HttpContext context)
    {
        Thread.Sleep(s_long);
        return context.Answer("late");
    }

    [Fact]
    public async Task Handler_ThatWaits_IsNamedByRouteWithCountTimeChannelAndCause()
    {
        await using HostHarness host = await StartAsync(routes => routes.MapGet("/orders/{id}", Sleep));
        (MegaPipeBlockedEndpoint row, int sent) = await BlockUntilAsync(
            host, "/orders/7", "GET /orders/{id}",
            row => row.HandOversByChannel.Count > 0 && row.Cause == MegaPipeBlockingCause.Wait);
        Assert.Equal(("GET", "/orders/{id}", "HTTP/1.1"), (row.Method, row.Route, row.Protocol));
        Assert.InRange(row.Count, 1, sent);
        // What the runtime and the system took of the thread meanwhile does not count.
        Assert.InRange(row.Worst, s_long / 4, row.Total);
        Assert.True(row.Total >= row.Count * s_long / 4, $"{row}");
        Assert.Equal(row.Count, row.OnPool + row.HandOversByChannel.Values.Sum());
        Assert.Equal([0], row.HandOversByChannel.Keys);
    }

    [Theory]
    [InlineData(MegaPipeScheduling.Adaptive)]
    [InlineData(MegaPipeScheduling.ThreadPool)]
    public async Task Handler_StuckNow_IsShownWithItsThreadAndCountedWhenItIsBack(MegaPipeScheduling scheduling)
    {
        using SemaphoreSlim release = new(0);
        int entered = 0;
        await using HostHarness host = await StartAsync(
            routes => routes.MapPost("/stuck", context =>
            {
                Interlocked.Increment(ref entered);
                release.Wait(InTimeExtensions.Limit);
                return context.Answer("late");
            }),
            options => options.Scheduling = scheduling);
        int sent = 0;
        // A busy machine may look at the thread too late to know that it waited; then it is not blamed.
        do
        {
            HttpPeer peer = await host.ConnectPeerAsync();
            await peer.SendAsync("POST /stuck HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
            await Eventually.True(() => Volatile.Read(ref entered) == sent + 1);
            await Eventually.True(
                () => Find(host, "POST /stuck") is { StuckNow: 1 } row && row.LongestNow > s_long,
                () => string.Join(", ", host.Status!.GetBlocked()));
            Assert.Contains(
                Assert.Single(Find(host, "POST /stuck")!.Threads),
                Directory.GetDirectories("/proc/self/task").Select(task => int.Parse(Path.GetFileName(task), null)));
            await Task.Delay(s_long);
            release.Release();
            Assert.Equal((200, "late"), await peer.ReceiveAsync());
            // Under no other name either: what is over has no route any more.
            await Eventually.True(
                () => host.Status!.GetBlocked().All(row => row.StuckNow == 0),
                () => string.Join(", ", host.Status!.GetBlocked()));
            sent++;
        }
        while (Find(host, "POST /stuck") is not { Count: > 0 } && sent < 20);
        Assert.True(
            Find(host, "POST /stuck") is not null, $"{LeakCheck.Sum(host.Status, "hand_overs")} hand-overs, " +
            $"{LeakCheck.Sum(host.Status, "inline")} inline, {LeakCheck.Sum(host.Status, "offloaded")} offloaded: " +
            string.Join(", ", host.Status!.GetBlocked()));
        MegaPipeBlockedEndpoint row = Find(host, "POST /stuck")!;
        Assert.InRange(row.Count, 1, sent);
        Assert.True(row.Total > TimeSpan.Zero);
    }

    [Theory]
    [InlineData(MegaPipeScheduling.Adaptive)]
    [InlineData(MegaPipeScheduling.ThreadPool)]
    public async Task Handler_ThatAwaits_KeepsNoThreadMeanwhile(MegaPipeScheduling scheduling)
    {
        TaskCompletionSource entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await StartAsync(
            routes => routes.MapGet("/waits", async context =>
            {
                entered.SetResult();
                await release.Task;
                await context.Answer("late");
            }),
            options => options.Scheduling = scheduling);
        HttpPeer peer = await host.ConnectPeerAsync();
        await peer.SendAsync(HttpPeer.Get("/waits"));
        await entered.Task.InTime();
        await Task.Delay(s_long); // longer than a thread may be kept; its own leaves the handler about now
        await Eventually.True(
            () => host.Status!.GetBlocked().All(row => row.StuckNow == 0),
            () => string.Join(", ", host.Status!.GetBlocked()));
        release.SetResult();
        Assert.Equal((200, "late"), await peer.ReceiveAsync());
    }

    [Fact]
    public async Task Warning_NamesEndpointAndRemedy_OncePerEndpoint()
    {
        await using HostHarness host = await StartAsync(routes =>
        {
            routes.MapGet("/lock", Sleep);
            routes.MapGet("/other", Sleep);
        });
        await BlockUntilAsync(host, "/lock", "GET /lock", row => row.Count >= 3);
        await BlockUntilAsync(host, "/other", "GET /other", row => row.Count >= 3);
        LogEntry[] Warnings() => [.. host.Logs.Transport(Blocked).Where(warning =>
            warning.Message.StartsWith("GET /", StringComparison.Ordinal))];
        await Eventually.True(() => Warnings().Length == 2, host.Logs.Describe);
        await BlockUntilAsync(host, "/lock", "GET /lock", row => row.Count >= 5);
        LogEntry[] warnings = Warnings();
        Assert.Equal(2, warnings.Length);
        Assert.All(warnings, warning => Assert.Equal(LogLevel.Warning, warning.Level));
        Assert.Single(warnings, warning => warning.Message.StartsWith("GET /lock ", StringComparison.Ordinal));
        Assert.All(warnings, warning => Assert.Contains(".Result, .Wait()", warning.Message, StringComparison.Ordinal));
    }

    [Fact]
    public async Task BlocksOnAConnectionThatWasOffloaded_AreCountedOnThePool()
    {
        await using HostHarness host = await StartAsync(routes => routes.MapGet("/block", Sleep));
        HttpPeer peer = await host.ConnectPeerAsync();
        int sent = 0;
        do
        {
            await peer.GetAsync("/block");
            Assert.True(++sent < 100);
        }
        while (Find(host, "GET /block") is not { OnPool: >= 3 });
        Assert.InRange(Find(host, "GET /block")!.Count, 3, sent);
    }

    [Theory]
    [InlineData(MegaPipeScheduling.ThreadPool)]
    [InlineData(MegaPipeScheduling.Inline)]
    public async Task WithoutAWatcher_TheHandlersOwnPartIsTimed(MegaPipeScheduling scheduling)
    {
        await using HostHarness host = await StartAsync(
            routes => routes.MapGet("/block", Sleep),
            options => options.Scheduling = scheduling);
        await (await host.ConnectPeerAsync()).GetAsync("/block");
        await Eventually.True(() => Find(host, "GET /block") is { Count: 1, OnPool: 1 });
    }

    [Fact]
    public async Task Http2_HandlersRunOnThePool_AreTimed()
    {
        await using HostHarness host = await StartAsync(
            routes => routes.MapGet("/block", Sleep),
            setup: host => host.Listen = listen => listen.Protocols = HttpProtocols.Http2);
        using HttpClient client = host.CreateClient(System.Net.HttpVersion.Version20);
        Assert.Equal("late", await client.GetStringAsync("/block"));
        await Eventually.True(() => Find(host, "GET /block") is { Count: 1, Protocol: "HTTP/2" });
    }

    [Fact]
    public async Task WithoutRouting_MethodAndTheFactThatThereIsNoEndpointAreShown()
    {
        await using HostHarness host = await SchedulingHost.StartAsync(Sleep);
        await BlockUntilAsync(host, "/", "GET (no endpoint)", row => row is { Route: null, Count: > 0 });
        HttpPeer peer = await host.ConnectPeerAsync();
        for (int i = 0; i < 100 && Find(host, "_OTHER (no endpoint)") is null; i++)
        {
            await peer.SendAsync("BREW / HTTP/1.1\r\nHost: a\r\n\r\n");
            await peer.ReceiveAsync();
        }

        Assert.NotNull(Find(host, "_OTHER (no endpoint)"));
    }

    [Fact]
    public async Task ConnectionWithoutHttp_IsNamedByItsEndpoint()
    {
        await using HostHarness host = await SchedulingHost.StartAsync(
            context => context.Answer("x"),
            setup: host => host.Listen = listen => listen.Run(async connection =>
            {
                await connection.Transport.Input.ReadAsync();
                Thread.Sleep(s_long);
            }));
        // Only the watcher can tell: nobody times what is no request.
        await Eventually.True(() =>
        {
            host.ConnectPeerAsync().GetAwaiter().GetResult().SendAsync("x").GetAwaiter().GetResult();
            Thread.Sleep(2 * s_long);
            return Find(host, $"connection on {host.EndPoint} (tcp)") is { Count: > 0 };
        });
    }

    [Fact]
    public async Task QuickHandlers_NothingIsReported()
    {
        await using HostHarness host = await StartAsync(routes => routes.MapGet("/q", context => context.Answer("x")));
        HttpPeer peer = await host.ConnectPeerAsync();
        for (int i = 0; i < 200; i++)
        {
            await peer.GetAsync("/q");
        }

        // A loaded machine may keep a quick handler from a CPU; it does not make it wait in the kernel.
        Assert.DoesNotContain(host.Status!.GetBlocked(), row => row.Cause == MegaPipeBlockingCause.Wait);
    }

    [Fact]
    public async Task SwitchedOff_NothingIsReported()
    {
        await using HostHarness host = await StartAsync(
            routes => routes.MapGet("/block", Sleep),
            options => options.ReportBlocking = false);
        HttpPeer peer = await host.ConnectPeerAsync();
        await peer.GetAsync("/block");
        await peer.GetAsync("/block");
        Assert.Empty(host.Status!.GetBlocked());
        Assert.Empty(host.Logs.Transport(Blocked));
    }

    [Fact]
    public async Task ActivityListener_GetsASpanBeneathTheRequestsOwn()
    {
        List<Activity> spans = [];
        using ActivityListener listener = new()
        {
            ShouldListenTo = source => source.Name is "MegaPipe.Kestrel" or "Microsoft.AspNetCore",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = activity =>
            {
                lock (spans)
                {
                    spans.Add(activity);
                }
            },
        };
        ActivitySource.AddActivityListener(listener);
        string route = $"/span-{Guid.NewGuid():N}";
        await using HostHarness host = await StartAsync(routes => routes.MapGet(route, Sleep));
        await BlockUntilAsync(host, route, $"GET {route}", row => row.Count > 0);
        Activity? Span() => Locked().FirstOrDefault(span => span.DisplayName == $"blocked GET {route}");
        await Eventually.True(() => Span() is not null);
        Activity span = Span()!;
        await Eventually.True(() => Locked().Any(request => request.SpanId == span.ParentSpanId));
        Assert.InRange(span.Duration, s_long / 4, InTimeExtensions.Limit);
        Assert.Equal("GET", span.GetTagItem("http.request.method"));
        Assert.Equal(route, span.GetTagItem("http.route"));

        Activity[] Locked()
        {
            lock (spans)
            {
                return [.. spans];
            }
        }
    }
}
