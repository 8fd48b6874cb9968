// The queue that any thread asks a channel through, and the average that decides where continuations run.
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class ChannelWorkQueueTests
{
    private const long Budget = 100_000;

    private ChannelWorkQueue _queue;

    [Fact]
    public void TakeAll_OneProducer_GivesOrderOfArrivalAndAsksForOneWakeUp()
    {
        Numbered[] requests = [.. Enumerable.Range(0, 10).Select(i => new Numbered(0, i))];
        Assert.True(_queue.IsEmpty);
        Assert.Equal([true, .. Enumerable.Repeat(false, 9)], requests.Select(work => _queue.Push(work)));
        Assert.Equal(Enumerable.Range(0, 10), Take().Select(work => work.Number));
        Assert.True(_queue.IsEmpty);
        Assert.Null(_queue.TakeAll());
        Assert.True(_queue.Push(requests[3]));
        Assert.Same(requests[3], Assert.Single(Take()));
    }

    [Fact]
    public void PushAndTakeAll_ManyThreads_NothingIsLostDoubledOrReordered()
    {
        const int Producers = 4;
        const int PerProducer = 50_000;
        int asked = 0;
        Thread[] producers =
        [
            .. Enumerable.Range(0, Producers).Select(producer => new Thread(() =>
            {
                for (int i = 0; i < PerProducer; i++)
                {
                    if (_queue.Push(new Numbered(producer, i)))
                    {
                        Interlocked.Increment(ref asked);
                    }
                }
            })),
        ];
        foreach (Thread producer in producers)
        {
            producer.Start();
        }

        int[] next = new int[Producers];
        int batches = 0;
        for (int taken = 0; taken < Producers * PerProducer;)
        {
            int before = taken;
            foreach (Numbered work in Take())
            {
                Assert.Equal(next[work.Producer]++, work.Number);
                taken++;
            }

            batches += taken > before ? 1 : 0;
            Assert.True(
                taken > before || producers.Any(thread => thread.IsAlive) || !_queue.IsEmpty, "Requests are lost.");
        }

        Assert.True(_queue.IsEmpty);
        foreach (Thread producer in producers)
        {
            producer.Join();
        }

        // One wake-up for each time that the queue was empty: none too many, none missing.
        Assert.Equal(batches, asked);
    }

    [Fact]
    public void Cost_QuickRuns_StayBelowTheBudget()
    {
        ContinuationCost cost = new();
        for (int i = 0; i < 1000; i++)
        {
            cost.Add(Budget / 2, Budget);
            Assert.InRange(cost.AverageTicks, 0, Budget / 2);
        }
    }

    [Fact]
    public void Cost_RunsAboveTheBudget_AreAboveItSoon()
    {
        ContinuationCost cost = new();
        int runs = 0;
        while (cost.AverageTicks <= Budget)
        {
            cost.Add(Budget * 2, Budget);
            Assert.True(++runs < 20);
        }
    }

    [Fact]
    public void Cost_OneRunThatWasPreempted_StaysOnTheCarrier()
    {
        ContinuationCost cost = new();
        for (int i = 0; i < 10; i++)
        {
            cost.Add(long.MaxValue / 2, Budget);
            Assert.InRange(cost.AverageTicks, 1, Budget);
            for (int quick = 0; quick < 30; quick++)
            {
                cost.Add(Budget / 20, Budget);
            }
        }
    }

    [Fact]
    public void Cost_AfterManyVeryLongRuns_ForgetsThemWithinTwentyQuickOnes()
    {
        ContinuationCost cost = new();
        for (int i = 0; i < 1000; i++)
        {
            cost.Add(long.MaxValue / 2, Budget);
        }

        Assert.True(cost.AverageTicks > Budget);
        int runs = 0;
        while (cost.AverageTicks > Budget)
        {
            cost.Add(Budget / 20, Budget);
            Assert.True(++runs <= 20, $"still {cost.AverageTicks} after {runs} quick runs");
        }
    }

    [Fact]
    public void Cost_RunThatWaited_BlocksUntilHalfADozenAreQuick()
    {
        ContinuationCost cost = new();
        cost.Add(Budget, Budget, waited: true);
        Assert.False(cost.Blocks); // for less than the budget
        cost.Add(Budget + 1, Budget);
        Assert.False(cost.Blocks); // it computed
        cost.Add(Budget + 1, Budget, waited: true);
        for (int quick = 0; quick < 6; quick++)
        {
            Assert.True(cost.Blocks);
            cost.Add(2 * Budget, Budget);
            Assert.True(cost.Blocks); // nothing to forgive it for
            cost.Add(Budget / 20, Budget);
        }

        Assert.False(cost.Blocks);
    }

    private List<Numbered> Take()
    {
        List<Numbered> taken = [];
        for (IChannelWork? work = _queue.TakeAll(); work is not null;)
        {
            IChannelWork? next = work.NextWork;
            taken.Add((Numbered)work);
            work = next;
        }

        return taken;
    }

    private sealed class Numbered(int producer, int number) : IChannelWork
    {
        public int Producer { get; } = producer;

        public int Number { get; } = number;

        public IChannelWork? NextWork { get; set; }

        public void Perform(TransportChannel channel)
        {
        }
    }
}
