// Long work goes to the thread pool, and comes back when it has become short.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class OffloadTests
{
    [Fact]
    public async Task Connection_OverTheBudgetThenQuickAgain_IsOffloadedAndComesBack()
    {
        await using HostHarness host = await SchedulingHost.StartAsync(
            context =>
            {
                if (context.Request.Path == "/slow")
                {
                    Thread.Sleep(5);
                }

                return context.Answer(SchedulingHost.OnCarrier ? "carrier" : "pool");
            },
            options =>
            {
                options.Channels = 1;
                options.InlineBudget = TimeSpan.FromMilliseconds(1);
                options.HandOverAfter = TimeSpan.FromMilliseconds(20);
            });
        HttpPeer slow = await host.ConnectPeerAsync();
        await UntilAsync(slow, "/", "carrier");
        Assert.Equal(0, LeakCheck.Sum(host.Status, "offloaded"));
        await UntilAsync(slow, "/slow", "pool");
        Assert.True(LeakCheck.Sum(host.Status, "offloaded") > 0);

        // Each connection is judged by itself.
        HttpPeer quick = await host.ConnectPeerAsync();
        await UntilAsync(quick, "/", "carrier");
        await UntilAsync(slow, "/", "carrier");
        Assert.True(LeakCheck.Sum(host.Status, "inline") > 0);
    }

    [Fact]
    public async Task Connection_SlowFromItsFirstRequest_IsOffloadedSoonAndStaysThere()
    {
        await using HostHarness host = await SchedulingHost.StartAsync(
            context =>
            {
                Thread.Sleep(2);
                return context.Answer(SchedulingHost.OnCarrier ? "carrier" : "pool");
            },
            options => options.Channels = 1);
        HttpPeer peer = await host.ConnectPeerAsync();
        List<string> places = [];
        for (int i = 0; i < 40; i++)
        {
            places.Add(await peer.GetAsync("/"));
        }

        Assert.DoesNotContain("carrier", places[10..]);
    }

    [Fact]
    public async Task HandOverAfter_VeryShort_ManyHandOversAndEveryAnswerIsRight()
    {
        long before = CarrierWatcher.Instance.HandOverCount;
        await using HostHarness host = await SchedulingHost.StartAsync(
            context =>
            {
                Thread.Sleep(4);
                return context.Answer(context.Request.Path);
            },
            options =>
            {
                options.Channels = 2;
                options.HandOverAfter = TimeSpan.FromMicroseconds(100);
                options.InlineBudget = TimeSpan.FromSeconds(1); // never offloaded: only the watcher helps
            });
        await Task.WhenAll(Enumerable.Range(0, 16).Select(async connection =>
        {
            HttpPeer peer = await host.ConnectPeerAsync();
            for (int i = 0; i < 10; i++)
            {
                Assert.Equal($"/{connection}/{i}", await peer.GetAsync($"/{connection}/{i}"));
            }
        }));
        Assert.True(CarrierWatcher.Instance.HandOverCount > before);
        Assert.Equal(0, LeakCheck.Sum(host.Status, "offloaded"));
    }

    [Fact]
    public async Task HandOverAfter_ShorterThanAnEarlierHosts_HoldsAtOnce()
    {
        TimeSpan earlier = TimeSpan.FromSeconds(4);
        await using (HostHarness first = await SchedulingHost.StartAsync(
            context => context.Answer("x"), options => options.HandOverAfter = earlier))
        {
            // Requests until the watcher, whatever host it saw last, has looked at this one; now it sleeps.
            HttpPeer peer = await first.ConnectPeerAsync();
            long until = Environment.TickCount64 + 300;
            while (Environment.TickCount64 < until)
            {
                await peer.GetAsync("/");
            }
        }

        using ManualResetEventSlim release = new();
        using ManualResetEventSlim entered = new();
        await using HostHarness host = await SchedulingHost.StartAsync(
            context =>
            {
                if (context.Request.Path == "/block")
                {
                    entered.Set();
                    release.Wait(InTimeExtensions.Limit);
                }

                return context.Answer("x");
            },
            options =>
            {
                options.Channels = 1;
                // A handler that is compiled first must not be offloaded.
                options.InlineBudget = TimeSpan.FromSeconds(1);
            });
        HttpPeer blocked = await host.ConnectPeerAsync();
        HttpPeer other = await host.ConnectPeerAsync();
        foreach (HttpPeer peer in (HttpPeer[])[blocked, blocked, other, other])
        {
            await peer.GetAsync("/");
        }

        long start = Stopwatch.GetTimestamp();
        await blocked.SendAsync(HttpPeer.Get("/block"));
        await Eventually.True(() => entered.IsSet);
        await other.GetAsync("/");
        TimeSpan took = Stopwatch.GetElapsedTime(start);
        release.Set();
        await blocked.ReceiveAsync();
        Assert.True(took < earlier / 4, $"answered after {took.TotalSeconds:0.0} s");
    }

    /// <summary>
    /// Asks until a handler runs there; a few dozen requests are enough, by ContinuationCost's own tests.
    /// </summary>
    private static async Task UntilAsync(HttpPeer peer, string path, string where)
    {
        for (int i = 0; i < 200; i++)
        {
            if (await peer.GetAsync(path) == where)
            {
                return;
            }
        }

        Assert.Fail($"{path} never ran on the {where}.");
    }
}
