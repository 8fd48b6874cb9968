// When a stuck thread pool is made to grow, by how much, and when it gets its own minimum back.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Carrying;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class PoolGuardTests
{
    private const int Processors = 2;
    private const int MaxThreads = 500;
    private const long Late = 10;

    private readonly FakePool _pool = new();
    private readonly PoolGuard _guard;
    private long _now = 1000;

    public PoolGuardTests() => _guard = new PoolGuard(_pool, Processors);

    [Fact]
    public void Look_NothingWaits_TouchesNothing()
    {
        Assert.False(Look());
        Assert.Empty(_pool.Queue);
        Assert.False(_guard.Raised);
    }

    [Fact]
    public void Look_PoolKeepsUp_DoesNotGrow()
    {
        _pool.Waiting = 5;
        for (int i = 0; i < 100; i++)
        {
            Assert.True(Look());
            _pool.RunQueue();
        }

        Assert.Equal(Processors, _pool.MinThreads);
    }

    [Fact]
    public void Look_LateOnce_DoesNotGrow()
    {
        _pool.Waiting = 5;
        Look();
        Look(Late);
        _pool.RunQueue();
        Look();
        Assert.Equal(0, _guard.GrowCount);
    }

    [Fact]
    public void Look_LateTwiceAndThreadsStuck_GrowsByTheWorkThatWaits()
    {
        _pool.Waiting = 5;
        Stick();
        Assert.Equal(Processors + 6, _pool.MinThreads); // the marker waits, too
        Assert.True(_guard.Raised);
    }

    [Fact]
    public void Look_LateButThreadsCanRun_DoesNotGrow()
    {
        _pool.Waiting = 400;
        _pool.Runnable = Processors;
        Stick();
        Stick();
        Assert.Equal(0, _guard.GrowCount);
        _pool.Runnable = Processors - 1; // one of them is stuck: a CPU is free
        Look(1);
        Assert.Equal(1, _guard.GrowCount);
    }

    [Fact]
    public void Look_StillStuck_DoublesUpToTheBoundAndNotBeforeTheThreadsAreThere()
    {
        _pool.Waiting = 10_000;
        Stick();
        int first = _pool.MinThreads;
        Assert.InRange(first, Processors + 1, 100);
        Look(1);
        Assert.Equal(first, _pool.MinThreads); // the pool is still starting what it was granted
        _pool.ThreadCount = first;
        Look(1);
        Assert.Equal(2 * first, _pool.MinThreads);
        for (int i = 0; i < 10; i++)
        {
            _pool.ThreadCount = _pool.MinThreads;
            Look(1);
        }

        Assert.Equal(MaxThreads, _pool.MinThreads);
    }

    [Fact]
    public void Look_PoolHasASmallerMaximum_StaysWithinIt()
    {
        _pool.MaxThreads = 20;
        _pool.Waiting = 400;
        Stick();
        Assert.Equal(20, _pool.MinThreads);
    }

    [Fact]
    public void Look_BoundIsZero_LeavesThePoolAlone()
    {
        _pool.Waiting = 400;
        for (int i = 0; i < 10; i++)
        {
            _now += Late;
            Assert.False(_guard.Look(_now, Late, maxThreads: 0));
        }

        Assert.Empty(_pool.Queue);
    }

    [Fact]
    public void Look_KeptUpForTheWholeTime_GivesBackWhatItFound()
    {
        _pool.MinThreads = 7;
        _pool.Waiting = 5;
        Stick();
        Recover();
        Look(GiveBackTicks - 1);
        Assert.True(_guard.Raised);
        Look(1);
        Assert.False(_guard.Raised);
        Assert.Equal(7, _pool.MinThreads);
    }

    [Fact]
    public void Look_LateAgainMeanwhile_KeepsTheThreads()
    {
        _pool.Waiting = 5;
        Stick();
        Recover();
        Look(GiveBackTicks - Late);
        _pool.Waiting = 5;
        Look(1);
        Look(Late); // late: the time begins again
        Recover();
        Look(GiveBackTicks - 1);
        Assert.True(_guard.Raised);
        Look(1);
        Assert.False(_guard.Raised);
    }

    [Fact]
    public void Look_ProcessSetItsOwnMinimumMeanwhile_LeavesThatAlone()
    {
        _pool.Waiting = 5;
        Stick();
        _pool.MinThreads = 33;
        Recover();
        Look(GiveBackTicks);
        Assert.False(_guard.Raised);
        Assert.Equal(33, _pool.MinThreads);
    }

    private static long GiveBackTicks => (long)(PoolGuard.GiveBackAfter.TotalSeconds * Stopwatch.Frequency);

    private bool Look(long later = 0)
    {
        _now += later;
        return _guard.Look(_now, Late, MaxThreads);
    }

    /// <summary>A marker goes in, and is late at two looks.</summary>
    private void Stick()
    {
        Assert.True(Look());
        Assert.True(Look(Late));
        Assert.True(Look(1));
    }

    private void Recover()
    {
        _pool.Waiting = 0;
        _pool.RunQueue();
        Look();
    }

    private sealed class FakePool : IGuardedPool
    {
        public Queue<IThreadPoolWorkItem> Queue { get; } = [];

        public long Waiting { get; set; }

        public int Runnable { get; set; }

        public int ThreadCount { get; set; } = Processors;

        public int MinThreads { get; set; } = Processors;

        public int MaxThreads { get; set; } = 32_767;

        public long PendingCount => Waiting + Queue.Count;

        public bool TrySetMinThreads(int count)
        {
            if (count > MaxThreads)
            {
                return false;
            }

            MinThreads = count;
            return true;
        }

        public bool CanRun(int count) => Runnable >= count;

        public void RunQueue()
        {
            while (Queue.TryDequeue(out IThreadPoolWorkItem? item))
            {
                item.Execute();
            }
        }

        void IGuardedPool.Queue(IThreadPoolWorkItem item) => Queue.Enqueue(item);
    }
}
