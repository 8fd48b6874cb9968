// What the page computes of two looks at the counters.
using MegaPipe.Kestrel.Page.Internal;

namespace MegaPipe.Kestrel.Page.Tests;

public sealed class SamplerTests
{
    private readonly MegaPipeStatus _status = new() { Transport = "megapipe" };
    private readonly Dictionary<string, long> _counters = new()
    {
        ["connections"] = 0,
        ["accepted"] = 0,
        ["inline"] = 0,
        ["offloaded"] = 0,
        ["turns"] = 0,
        ["turn_us"] = 0,
        ["delay_us"] = 0,
        ["events"] = 0,
        ["dispatches"] = 0,
        ["hand_overs"] = 0,
        ["stalled_us"] = 0,
        ["leases_out"] = 0,
    };

    public SamplerTests() => _status.SetChannels(
        () => [new MegaPipeChannelStatus(0, new Dictionary<string, long>(_counters))]);

    [Fact]
    public void Difference_IsRatesMeansAndWhatIsThere()
    {
        MegaPipeChannelStatus before = _status.GetChannels()[0];
        _counters["connections"] = 7;
        _counters["accepted"] = 10;
        _counters["inline"] = 400;
        _counters["turns"] = 100;
        _counters["turn_us"] = 5_000;
        _counters["delay_us"] = 800;
        _counters["events"] = 300;
        _counters["dispatches"] = 100;
        _counters["hand_overs"] = 3;
        _counters["stalled_us"] = 20_000;
        _counters["leases_out"] = 2;
        ChannelSample sample = Difference.Of(_status.GetChannels()[0], before, 2);
        Assert.Equal(
            new ChannelSample(0)
            {
                Connections = 7,
                Accepted = 5,
                Inline = 200,
                TurnMicroseconds = 50,
                DelayMicroseconds = 2,
                Batch = 3,
                HandOvers = 3,
                StalledPercent = 1,
                LeasesOut = 2,
            },
            sample);
    }

    [Fact]
    public void Difference_WithoutALookBefore_HasNoRates()
    {
        _counters["inline"] = 400;
        Assert.Equal(0, Difference.Of(_status.GetChannels()[0], null, 0).Inline);
    }

    [Fact]
    public void Difference_CountersThatBeganAnew_AreNotNegative()
    {
        _counters["inline"] = 400;
        MegaPipeChannelStatus before = _status.GetChannels()[0];
        _counters["inline"] = 3;
        Assert.Equal(0, Difference.Of(_status.GetChannels()[0], before, 1).Inline);
    }

    [Fact]
    public async Task History_IsBoundedAndStopsWhenNobodyWatches()
    {
        TestClock clock = new();
        Sampler sampler = new(_status, clock);
        using CancellationTokenSource stop = new();
        IAsyncEnumerator<ReadOnlyMemory<byte>> frames = sampler.Follow(stop.Token).GetAsyncEnumerator();
        ValueTask<bool> next = frames.MoveNextAsync();
        for (int i = 0; i < 2 * Sampler.Capacity; i++)
        {
            clock.Tick();
        }

        Assert.True(await next);
        Assert.Equal(Sampler.Capacity, sampler.State().History.Count);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            while (await frames.MoveNextAsync())
            {
            }
        });
        await frames.DisposeAsync();
        for (int i = 0; i < 130; i++)
        {
            clock.Tick();
        }

        Assert.Equal(0, clock.Timers);
        Assert.Empty(sampler.State().History); // it begins anew
        Assert.Equal(1, clock.Timers);
    }

    [Fact]
    public void Blocked_OfTheLastMinute_IsWhatGrew()
    {
        long count = 5;
        _status.SetBlocked(() =>
        [
            new MegaPipeBlockedEndpoint("GET /a", "HTTP/1.1", "GET", "/a", "a")
            {
                Count = count,
                Total = TimeSpan.FromSeconds(count),
            },
        ]);
        TestClock clock = new();
        Sampler sampler = new(_status, clock);
        sampler.State();
        count = 8;
        clock.Tick();
        BlockedState row = Assert.Single(sampler.State().Now.Blocked);
        Assert.Equal((8, 3, 3000.0), (row.Count, row.RecentCount, row.RecentMilliseconds));
        for (int i = 0; i < 61; i++)
        {
            clock.Tick();
        }

        Assert.Equal(0, Assert.Single(sampler.State().Now.Blocked).RecentCount);
    }

    [Fact]
    public async Task Timer_HasAThreadOfItsOwnThatEndsWithIt()
    {
        TaskCompletionSource<Thread> second = new(TaskCreationOptions.RunContinuationsAsynchronously);
        ITimer? timer = null;
        (int calls, bool ofThePool, bool background) = (0, true, false);
        using SemaphoreSlim made = new(0);
        timer = ThreadClock.Instance.CreateTimer(
            _ =>
            {
                made.Wait();
                made.Release();
                if (++calls == 2)
                {
                    ofThePool = Thread.CurrentThread.IsThreadPoolThread;
                    background = Thread.CurrentThread.IsBackground;
                    timer!.Dispose();
                    second.SetResult(Thread.CurrentThread);
                }
            }, null, TimeSpan.FromMilliseconds(1), TimeSpan.FromMilliseconds(1));
        made.Release();
        Thread thread = await second.Task.WaitAsync(TimeSpan.FromMinutes(1));
        Assert.False(ofThePool);
        Assert.True(background);
        Assert.True(thread.Join(TimeSpan.FromMinutes(1)));
        Assert.Equal(2, calls);
    }

    private sealed class TestClock : TimeProvider
    {
        private readonly List<Timer> _timers = [];
        private long _seconds;

        public int Timers => _timers.Count;

        public override DateTimeOffset GetUtcNow() => DateTimeOffset.UnixEpoch.AddSeconds(_seconds);

        public override long GetTimestamp() => _seconds;

        public override long TimestampFrequency => 1;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            Timer timer = new(this, () => callback(state));
            _timers.Add(timer);
            return timer;
        }

        public void Tick()
        {
            _seconds++;
            _timers.ToArray().ToList().ForEach(timer => timer.Fire());
        }

        private sealed class Timer(TestClock clock, Action fire) : ITimer
        {
            public void Fire() => fire();

            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose() => clock._timers.Remove(this);

            public ValueTask DisposeAsync()
            {
                Dispose();
                return ValueTask.CompletedTask;
            }
        }
    }
}
