// A carrier that has given something to the pool lets it run before it sleeps, where no core is idle.
using MegaPipe.Kestrel.Internal.Carrying;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class YieldTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    [Fact]
    public void Offloaded_LivesOnThePool_CarrierYieldsOnceAndFindsTheAnswerAwake()
    {
        using ManualResetEventSlim asked = new(), performed = new();
        int yields = 0;
        using TestChannel test = new(1, yield: () =>
        {
            yields++;
            return asked.Wait(s_limit);
        });
        test.Ready(new TestContinuation(test.Scheduling, () =>
        {
            test.Channel.Post(_ => performed.Set());
            asked.Set();
        }, LivingElsewhere()));
        Assert.True(performed.Wait(s_limit), "The answer was never performed.");
        Assert.True(asked.IsSet);
        Assert.Equal(1, yields);
        Assert.Equal(1, test.Channel.OffloadedCount);
    }

    [Fact]
    public void Offloaded_WhileACoreIsIdle_CarrierDoesNotYield() =>
        Assert.Equal(0, YieldsAfterRunning(LivingElsewhere(), hasIdleCore: true));

    [Fact]
    public void Offloaded_BecauseItBlocks_CarrierDoesNotYield()
    {
        ContinuationCost cost = LivingElsewhere();
        cost.Add(2 * BudgetTicks, BudgetTicks, waited: true); // its average stays below the budget
        Assert.True(cost.Blocks);
        Assert.Equal(0, YieldsAfterRunning(cost));
    }

    [Fact]
    public void Offloaded_ComputesForLong_CarrierDoesNotYield()
    {
        ContinuationCost cost = LivingElsewhere();
        for (int i = 0; i < 100; i++)
        {
            cost.Add(2 * BudgetTicks, BudgetTicks);
        }

        Assert.Equal(0, YieldsAfterRunning(cost));
    }

    [Fact]
    public void NotOffloaded_CarrierDoesNotYield() => Assert.Equal(0, YieldsAfterRunning(new ContinuationCost()));

    [Theory]
    [InlineData(0, 2)]
    [InlineData(long.MaxValue / 2, 1)]
    public void Yield_TakesLong_NoOtherOneForThePause(long pauseTicks, int expected)
    {
        int yields = 0;
        using (TestChannel test = new(
            1, inlineBudget: TimeSpan.FromTicks(1), yieldPauseTicks: pauseTicks, yield: () =>
            {
                yields++;
                Thread.Sleep(20); // a turn may take ten budgets: a microsecond
                return true;
            }))
        {
            for (int i = 0; i < 2; i++)
            {
                using ManualResetEventSlim ran = new();
                test.Ready(new TestContinuation(test.Scheduling, ran.Set, LivingElsewhere()));
                Assert.True(ran.Wait(s_limit), "The continuation never ran.");
                TestChannel.WaitUntil(() => test.Channel.IsWaiting, () => "The carrier never slept.");
            }
        }

        Assert.Equal(expected, yields);
    }

    private static readonly TimeSpan s_budget = TimeSpan.FromSeconds(1);

    private static long BudgetTicks => (long)(s_budget.TotalSeconds * System.Diagnostics.Stopwatch.Frequency);

    /// <summary>A connection whose answers have come from the pool, as those of HTTP/2 do.</summary>
    private static ContinuationCost LivingElsewhere()
    {
        ContinuationCost cost = new();
        for (int i = 0; i < 32; i++)
        {
            cost.OnFlush();
        }

        Assert.True(cost.LivesElsewhere);
        return cost;
    }

    /// <summary>Times that the carrier has let others run until it sleeps, after one continuation.</summary>
    private static int YieldsAfterRunning(ContinuationCost cost, bool hasIdleCore = false)
    {
        using ManualResetEventSlim ran = new();
        int yields = 0;
        using (TestChannel test = new(1, inlineBudget: s_budget, hasIdleCore: () => hasIdleCore, yield: () =>
        {
            yields++;
            return true;
        }))
        {
            test.Ready(new TestContinuation(test.Scheduling, ran.Set, cost));
            Assert.True(ran.Wait(s_limit), "The continuation never ran.");
        }

        return yields; // the carrier has ended
    }
}
