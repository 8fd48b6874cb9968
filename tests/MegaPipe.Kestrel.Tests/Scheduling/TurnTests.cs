// The word that decides who carries a channel: each exchange on it, one at a time.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class TurnTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    [Fact]
    public void TryTakeAway_CarrierIdle_Fails()
    {
        using TestChannel test = new(carriers: 2);
        using ManualResetEventSlim ran = new();
        test.Ready(new TestContinuation(test.Scheduling, ran.Set));
        Assert.True(ran.Wait(s_limit));
        TestChannel.WaitUntil(
            () => test.Channel.EpochInApplication < 0, () => "The carrier never left the application.");
        Assert.Equal(-1, test.Channel.TryTakeAway(0));
        Assert.Equal(1, test.Channel.Runs);
    }

    [Fact]
    public void TryTakeAway_CarrierInApplication_SucceedsOnceAndForThatEpochOnly()
    {
        using TestChannel test = new(carriers: 2);
        using Stuck stuck = new(test);
        Assert.Equal(-1, test.Channel.TryTakeAway(1));
        Assert.Equal(1, test.Channel.TryTakeAway(0));
        Assert.Equal(-1, test.Channel.TryTakeAway(0));
        Assert.Equal(-1, test.Channel.TryTakeAway(1));
        Assert.True(test.TryAssign(1));
        stuck.Release();
        TestChannel.WaitUntil(() => test.FreeCarriers == 1, () => "The stuck carrier never became a spare.");
        Assert.False(stuck.WasCarriedAtTheEnd);
    }

    [Fact]
    public void Stop_LastRequestMakesAContinuationReady_ItStillRuns()
    {
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim release = new();
        bool ran = false;
        using (TestChannel test = new(carriers: 1))
        {
            test.Ready(new TestContinuation(test.Scheduling, () =>
            {
                entered.Set();
                release.Wait(s_limit);
            }));
            Assert.True(entered.Wait(s_limit));
            test.Ready(new TestContinuation(test.Scheduling, () => ran = true));
            test.Channel.Stop();
            release.Set();
        }

        Assert.True(ran, "The channel ended with a continuation that nobody ran.");
    }

    [Fact]
    public void HandOver_RestOfTheBatch_RunsOnTheNextCarrierInOrder()
    {
        using TestChannel test = new(carriers: 2);
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim release = new();
        List<int> order = [];
        int firstThread = 0;
        int otherThreads = 0;
        test.Ready(
        [
            new TestContinuation(test.Scheduling, () =>
            {
                firstThread = Environment.CurrentManagedThreadId;
                entered.Set();
                release.Wait(s_limit);
            }),
            .. Enumerable.Range(1, 100).Select(i => new TestContinuation(test.Scheduling, () =>
            {
                order.Add(i);
                otherThreads += Environment.CurrentManagedThreadId == firstThread ? 0 : 1;
            })),
        ]);
        Assert.True(entered.Wait(s_limit));
        Assert.True(test.TryHandOver());
        TestChannel.WaitUntil(
            () => test.Channel.Runs == 101 && test.Channel.EpochInApplication < 0,
            () => $"{test.Channel.Runs} of 101 ran");
        Assert.Equal(Enumerable.Range(1, 100), order);
        Assert.Equal(100, otherThreads);
        release.Set();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Turn_OfManyShortContinuations_TheLateOnesAreOffloadedWhileACoreIsIdle(bool idleCore)
    {
        TimeSpan budget = TimeSpan.FromMilliseconds(1);
        bool idle = false;
        using TestChannel test = new(carriers: 1, inlineBudget: budget, hasIdleCore: () => Volatile.Read(ref idle));
        using CountdownEvent ran = new(3);
        int onPool = 0;
        void Count()
        {
            if (Thread.CurrentThread.IsThreadPoolThread)
            {
                Interlocked.Increment(ref onPool);
            }

            ran.Signal();
        }

        // A turn begins early in its first continuation; what comes after it has waited for far more than ten budgets.
        test.Ready(
            new TestContinuation(test.Scheduling, () =>
            {
                Count();
                Thread.Sleep(20 * budget);
                Volatile.Write(ref idle, idleCore);
            }),
            new TestContinuation(test.Scheduling, Count),
            new TestContinuation(test.Scheduling, Count));
        Assert.True(ran.Wait(s_limit));
        Assert.Equal(idleCore ? 2 : 0, onPool);
        Assert.Equal(idleCore ? 2 : 0, test.Channel.OffloadedCount);

        // The next turn's delay starts anew.
        ran.Reset(1);
        test.Ready(new TestContinuation(test.Scheduling, Count));
        Assert.True(ran.Wait(s_limit));
        Assert.Equal(idleCore ? 2 : 0, onPool);
    }

    [Fact]
    public void Turn_RequestsPerformedInBetween_AreNotTheNextContinuationsCost()
    {
        TimeSpan slow = TimeSpan.FromMilliseconds(400);
        using TestChannel test = new(carriers: 1);
        using ManualResetEventSlim ran = new();
        bool performed = false, performedBefore = false;
        ContinuationCost cost = new();
        int threshold = new MegaPipeTransportOptions().BatchThreshold;
        test.Ready(
        [
            .. Enumerable.Range(1, threshold - 1).Select(_ => new TestContinuation(test.Scheduling, () => { })),
            new TestContinuation(test.Scheduling, () => test.Channel.Post(_ =>
            {
                Thread.Sleep(slow);
                performed = true;
            })),
            new TestContinuation(test.Scheduling, () => performedBefore = performed, cost),
            new TestContinuation(test.Scheduling, ran.Set),
        ]);
        Assert.True(ran.Wait(s_limit));
        Assert.True(performedBefore);
        Assert.True(
            Stopwatch.GetElapsedTime(0, cost.AverageTicks) < slow / 16, // the newest counts for an eighth
            $"{Stopwatch.GetElapsedTime(0, cost.AverageTicks).TotalMilliseconds} ms");
    }

    [Fact]
    public void HandOver_OfOneRunOverTheBudget_SendsItsNextRunsToThePoolUntilTheyAreQuick()
    {
        // No core is idle.
        using TestChannel test = new(carriers: 2, inlineBudget: TimeSpan.FromMilliseconds(5));
        using ManualResetEventSlim release = new();
        using SemaphoreSlim ran = new(0);
        ContinuationCost cost = new();
        bool onPool = false;
        TestContinuation quick = new(test.Scheduling, () =>
        {
            onPool = Thread.CurrentThread.IsThreadPoolThread;
            ran.Release();
        }, cost);
        test.Ready(new TestContinuation(test.Scheduling, () =>
        {
            release.Wait(s_limit);
            Thread.Sleep(20);
        }, cost));
        TestChannel.WaitUntil(() => test.Channel.EpochInApplication == 0, () => "The continuation never ran.");
        Assert.True(test.TryHandOver());
        release.Set();
        TestChannel.WaitUntil(() => test.FreeCarriers == 1, () => "The stuck carrier never became a spare.");
        Assert.True(cost.AverageTicks > test.Scheduling.BudgetTicks);

        int pooled = 0;
        do
        {
            test.Ready(quick);
            Assert.True(ran.Wait(s_limit));
            pooled += onPool ? 1 : 0;
        }
        while (onPool && pooled < 1000);
        Assert.InRange(pooled, 1, 999);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void HandOver_SecondOneSoonAfterTheFirst_SendsTheRestOfTheBatchToThePool(bool soon)
    {
        // Ten of these make two hand-overs one behind the other.
        TimeSpan handOverAfter = soon ? TimeSpan.FromSeconds(10) : TimeSpan.Zero;
        using TestChannel test = new(carriers: 4, handOverAfter: handOverAfter);
        using ManualResetEventSlim release = new();
        using SemaphoreSlim entered = new(0);
        using CountdownEvent ran = new(50);
        int onPool = 0;
        void Block()
        {
            entered.Release();
            release.Wait(s_limit);
        }

        test.Ready(
        [
            new TestContinuation(test.Scheduling, Block),
            new TestContinuation(test.Scheduling, Block),
            .. Enumerable.Range(0, 50).Select(_ => new TestContinuation(test.Scheduling, () =>
            {
                Interlocked.Add(ref onPool, Thread.CurrentThread.IsThreadPoolThread ? 1 : 0);
                ran.Signal();
            })),
        ]);
        for (int i = 0; i < 2; i++)
        {
            Assert.True(entered.Wait(s_limit)); // one hand-over alone lets the next continuation run on a carrier
            Assert.Equal(i + 1, test.Channel.InlineCount);
            Assert.True(test.TryHandOver());
        }

        Assert.True(ran.Wait(s_limit));
        Assert.Equal(soon ? 50 : 0, onPool);
        Assert.Equal(soon ? 50 : 0, test.Channel.OffloadedCount);

        // What becomes ready meanwhile goes there, too.
        ran.Reset(1);
        test.Ready(new TestContinuation(test.Scheduling, () =>
        {
            Interlocked.Add(ref onPool, Thread.CurrentThread.IsThreadPoolThread ? 1 : 0);
            ran.Signal();
        }));
        Assert.True(ran.Wait(s_limit));
        Assert.Equal(soon ? 51 : 0, onPool);
        release.Set();
    }

    [Fact]
    public void Post_FromAThreadThatLostItsChannel_IsPerformedByTheNextCarrier()
    {
        using TestChannel test = new(carriers: 2);
        using ManualResetEventSlim performed = new();
        int carrier = 0;
        using Stuck stuck = new(test, atTheEnd: () => test.Channel.Post(_ =>
        {
            carrier = Environment.CurrentManagedThreadId;
            performed.Set();
        }));
        Assert.True(test.TryHandOver());
        // Until the other carrier has begun, the stuck one could come back and take the assignment itself.
        using ManualResetEventSlim begun = new();
        test.Channel.Post(_ => begun.Set());
        Assert.True(begun.Wait(s_limit));
        stuck.Release();
        Assert.True(performed.Wait(s_limit));
        Assert.NotEqual(stuck.ThreadId, carrier);
    }

    [Fact]
    public void Post_BeforeTheHandOverFromTheCarrierItself_IsNotForgotten()
    {
        using TestChannel test = new(carriers: 2);
        using ManualResetEventSlim performed = new();
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim release = new();
        test.Ready(new TestContinuation(test.Scheduling, () =>
        {
            // No wake-up: this thread is the carrier and performs requests before it sleeps. Then it is not any more.
            test.Channel.Post(_ => performed.Set());
            entered.Set();
            release.Wait(s_limit);
        }));
        Assert.True(entered.Wait(s_limit));
        Assert.False(performed.IsSet);
        Assert.True(test.TryHandOver());
        Assert.True(performed.Wait(s_limit));
        release.Set();
    }

    [Fact]
    public void Post_HandOverWhileItIsPushed_IsPerformedByTheNextCarrier()
    {
        using TestChannel test = new(carriers: 2);
        using ManualResetEventSlim performed = new();
        test.Ready(new TestContinuation(test.Scheduling, () => test.Channel.Post(new HandingOver(() =>
        {
            Assert.True(test.TryHandOver());
            // The next carrier sleeps, and nothing but a wake-up makes it look at its requests again.
            TestChannel.WaitUntil(() => test.Channel.IsWaiting, () => "The next carrier never went to sleep.");
        }, performed.Set))));
        Assert.True(performed.Wait(s_limit));
    }

    [Fact]
    public void TryEnterRing_OnTheCarrier_KeepsTheWatcherAwayUntilItLeaves()
    {
        using TestChannel test = new(carriers: 2);
        using ManualResetEventSlim inRing = new();
        using ManualResetEventSlim leave = new();
        using ManualResetEventSlim left = new();
        using ManualResetEventSlim release = new();
        bool entered = false, again = true;
        test.Ready(new TestContinuation(test.Scheduling, () =>
        {
            entered = test.Channel.TryEnterRing();
            inRing.Set();
            leave.Wait(s_limit);
            test.Channel.LeaveRing();
            left.Set();
            release.Wait(s_limit);
            again = test.Channel.TryEnterRing();
        }));
        Assert.True(inRing.Wait(s_limit));
        Assert.True(entered);
        Assert.Equal(-1, test.Channel.TryTakeAway(0));
        Assert.Equal(-1, test.Channel.EpochInApplication);
        leave.Set();
        Assert.True(left.Wait(s_limit));
        Assert.True(test.TryHandOver());
        release.Set();
        TestChannel.WaitUntil(() => test.FreeCarriers == 1, () => "The stuck carrier never became a spare.");
        Assert.False(again);
        Assert.False(test.Channel.TryEnterRing()); // this thread never carried anything
    }

    [Theory]
    [InlineData(true, false)]
    [InlineData(false, false)]
    [InlineData(false, true)]
    public void Schedule_AboveTheBudget_RunsOnThePoolIfACoreIsIdleOrItBlocks(bool idleCore, bool blocks)
    {
        using TestChannel test = new(carriers: 1, hasIdleCore: () => idleCore);
        using ManualResetEventSlim ran = new();
        ContinuationCost cost = new();
        for (int i = 0; i < 20; i++)
        {
            cost.Add(test.Scheduling.BudgetTicks * 2, test.Scheduling.BudgetTicks, blocks);
        }

        bool onPool = false;
        test.Ready(new TestContinuation(
            test.Scheduling,
            () =>
            {
                onPool = Thread.CurrentThread.IsThreadPoolThread;
                ran.Set();
            },
            cost));
        Assert.True(ran.Wait(s_limit));
        bool expected = idleCore || blocks;
        Assert.Equal(expected, onPool);
        Assert.Equal(expected ? (1, 0) : (0, 1), (test.Channel.OffloadedCount, test.Channel.InlineCount));
    }

    /// <summary>A process that starts: its code is slow at first, and becomes quicker the more often it ran.</summary>
    [Fact]
    public void Schedule_SlowCodeThatBecomesQuickOnABusyCpu_NeverLeavesTheCarrier()
    {
        const int Runs = 200;
        using TestChannel test = new(carriers: 1, inlineBudget: TimeSpan.FromMicroseconds(100));
        using SemaphoreSlim ran = new(0);
        ContinuationCost cost = new();
        int onPool = 0;
        for (int i = 0; i < Runs; i++)
        {
            double microseconds = 400.0 * (Runs - i) / Runs;
            test.Ready(new TestContinuation(test.Scheduling, () =>
            {
                long start = Stopwatch.GetTimestamp();
                while (Stopwatch.GetElapsedTime(start).TotalMicroseconds < microseconds)
                {
                }

                onPool += Thread.CurrentThread.IsThreadPoolThread ? 1 : 0;
                ran.Release();
            }, cost));
            Assert.True(ran.Wait(s_limit));
        }

        // A collection that stops the loop is a wait, too, and may send the next half a dozen away.
        Assert.InRange(onPool, 0, Runs / 10);
    }

    [Fact]
    public void Schedule_AnswersComeFromElsewhere_RunsOnThePoolUntilTheyDoNot()
    {
        using TestChannel test = new(carriers: 1);
        using SemaphoreSlim ran = new(0);
        ContinuationCost cost = new();
        bool onPool = false;
        TestContinuation continuation = new(
            test.Scheduling,
            () =>
            {
                onPool = Thread.CurrentThread.IsThreadPoolThread;
                cost.OnFlush();
                ran.Release();
            },
            cost);
        for (int i = 0; i < 32; i++)
        {
            cost.OnFlush(); // on this thread, which runs none of the connection's continuations
        }

        int pooled = 0;
        do
        {
            test.Ready(continuation);
            Assert.True(ran.Wait(s_limit));
            pooled += onPool ? 1 : 0;
        }
        while (onPool && pooled < 1000);
        Assert.InRange(pooled, 1, 999);
    }

    /// <summary>Calls back while it is being pushed, before anybody else can see it.</summary>
    private sealed class HandingOver(Action whilePushed, Action perform) : IChannelWork
    {
        private IChannelWork? _next;
        private bool _called;

        public IChannelWork? NextWork
        {
            get => _next;
            set
            {
                _next = value;
                if (!_called)
                {
                    _called = true;
                    whilePushed();
                }
            }
        }

        public void Perform(TransportChannel channel) => perform();
    }

    /// <summary>The channel's carrier held in application code.</summary>
    private sealed class Stuck : IDisposable
    {
        private readonly ManualResetEventSlim _release = new();
        private readonly ManualResetEventSlim _done = new();

        public Stuck(TestChannel test, Action? atTheEnd = null)
        {
            using ManualResetEventSlim entered = new();
            test.Ready(new TestContinuation(test.Scheduling, () =>
            {
                ThreadId = Environment.CurrentManagedThreadId;
                Assert.True(test.Channel.IsCarriedByThisThread);
                entered.Set();
                _release.Wait(s_limit);
                WasCarriedAtTheEnd = test.Channel.IsCarriedByThisThread;
                atTheEnd?.Invoke();
                _done.Set();
            }));
            Assert.True(entered.Wait(s_limit));
        }

        public int ThreadId { get; private set; }

        public bool WasCarriedAtTheEnd { get; private set; } = true;

        public void Release()
        {
            _release.Set();
            Assert.True(_done.Wait(s_limit));
        }

        public void Dispose() => _release.Set();
    }
}
