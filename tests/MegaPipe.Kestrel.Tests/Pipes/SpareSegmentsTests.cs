// Send segments between writers: no two get the same one, and threads that only take get what others put.
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Pipes;

[Trait("Area", "Pipes")]
public sealed class SpareSegmentsTests
{
    [Fact]
    public void Take_AfterPut_IsTheNewestAndLinkedToNothing()
    {
        SendSegment first = SpareSegments.Take();
        SendSegment second = SpareSegments.Take();
        Assert.NotSame(first, second);

        SpareSegments.Put(first);
        SpareSegments.Put(second);

        Assert.Same(second, SpareSegments.Take());
        Assert.Null(second.Next);
        Assert.Same(first, SpareSegments.Take());
        Assert.Null(first.Next);
    }

    [Fact]
    public void Take_OnAThreadThatNeverPuts_GetsWhatAnotherPuts()
    {
        const int Rounds = 200;
        SendSegment[] taken = new SendSegment[SpareSegments.Bunch];
        long allocated = 0;
        for (int round = 0; round < Rounds; round++)
        {
            // Every round a thread of its own takes a bunch: it has none by itself.
            Thread taker = new(() =>
            {
                long before = GC.GetAllocatedBytesForCurrentThread();
                for (int i = 0; i < taken.Length; i++)
                {
                    taken[i] = SpareSegments.Take();
                }

                allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            });
            taker.Start();
            Assert.True(taker.Join(InTimeExtensions.Limit));
            Assert.Distinct(taken);
            foreach (SendSegment segment in taken)
            {
                SpareSegments.Put(segment);
            }
        }

        // New ones each time would be 100 bytes for each of them; the first bunches are, until enough go round.
        Assert.True(allocated < Rounds * SpareSegments.Bunch * 100 / 4, $"{allocated} bytes allocated");
    }

    [Fact]
    public void TakeAndPut_ByManyThreads_NoSegmentIsInTwoHands()
    {
        const int Threads = 4;
        int wrong = 0;
        Thread[] threads = [.. Enumerable.Range(1, Threads).Select(number => new Thread(() => Run(number)))];
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => Assert.True(thread.Join(InTimeExtensions.Limit)));
        Assert.Equal(0, wrong);

        void Run(int number)
        {
            Random random = new(number);
            Stack<SendSegment> mine = new();
            for (int i = 0; i < 50_000; i++)
            {
                if (mine.Count < 200 && (mine.Count == 0 || random.Next(2) == 0))
                {
                    SendSegment taken = SpareSegments.Take();
                    if (taken.Filled != 0 || taken.Next is not null)
                    {
                        Interlocked.Increment(ref wrong);
                    }

                    taken.Filled = number;
                    mine.Push(taken);
                }
                else
                {
                    SendSegment given = mine.Pop();
                    if (given.Filled != number)
                    {
                        Interlocked.Increment(ref wrong);
                    }

                    given.Filled = 0;
                    SpareSegments.Put(given);
                }
            }
        }
    }
}
