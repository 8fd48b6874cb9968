// The exchanges on the turn word at the worst moment: the watcher takes the channel while the carrier takes it back.
using MegaPipe.Kestrel.Internal.Carrying;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class TurnRaceTests
{
    private const int Rounds = 3_000;

    /// <summary>On a machine so busy that one side always comes first.</summary>
    private const int MostRounds = 100_000;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    [Fact]
    public void TakeAway_AsTheContinuationEnds_OneOfThemHasTheChannel()
    {
        using TestChannel test = new(carriers: 2);
        int taken = 0;
        Meeting meeting = new();
        Edge edge = new();
        for (int round = 1; round <= Rounds || (taken == 0 && round <= MostRounds); round++)
        {
            int number = round;
            test.Ready(new TestContinuation(test.Scheduling, () =>
            {
                meeting.Carrier(number);
                edge.DelayCarrier();
            }));
            long next = TakeAway(test, meeting, edge, round);
            if (next < 0)
            {
                TestChannel.WaitUntil(
                    () => test.Channel.EpochInApplication < 0, () => "The carrier never left the application.");
                continue;
            }

            taken++;
            // Only a carrier that knows that it has lost the channel comes back.
            TestChannel.WaitUntil(() => test.FreeCarriers == 2, () => $"Two carriers after {round} rounds.");
            Assert.Equal(next, test.Channel.HandOvers);
            Assert.True(test.TryAssign(next));
        }

        Assert.True(taken > 0);
    }

    [Fact]
    public void TakeAway_AsTheContinuationEntersTheRing_OneOfThemHasTheChannel()
    {
        using TestChannel test = new(carriers: 2);
        int both = 0;
        int inRing = 0;
        Meeting meeting = new();
        Edge edge = new();
        for (int round = 1; round <= Rounds || (inRing == 0 && round <= MostRounds); round++)
        {
            int number = round;
            bool entered = false;
            using ManualResetEventSlim tried = new();
            test.Ready(new TestContinuation(test.Scheduling, () =>
            {
                meeting.Carrier(number);
                edge.DelayCarrier();
                entered = test.Channel.TryEnterRing();
                tried.Set();
                meeting.End(number);
                if (entered)
                {
                    test.Channel.LeaveRing();
                }
            }));
            long next = TakeAway(test, meeting, edge, round);
            Assert.True(tried.Wait(s_limit));
            both += entered && next >= 0 ? 1 : 0;
            inRing += entered ? 1 : 0;
            meeting.LetEnd(round);
            if (next >= 0)
            {
                TestChannel.WaitUntil(() => test.FreeCarriers == 2, () => "The carrier never came back.");
                Assert.True(test.TryAssign(next));
            }
            else
            {
                TestChannel.WaitUntil(
                    () => test.Channel.EpochInApplication < 0, () => "The carrier never left the application.");
            }
        }

        Assert.Equal(0, both);
        Assert.True(inRing > 0);
    }

    /// <summary>Meets the carrier, and takes the channel as it comes to the exchange. The next epoch, or -1.</summary>
    private static long TakeAway(TestChannel test, Meeting meeting, Edge edge, int round)
    {
        long epoch = test.Channel.HandOvers;
        meeting.Watcher(round);
        edge.DelayWatcher();
        long next = test.Channel.TryTakeAway(epoch);
        edge.Learn(watcherWasFirst: next >= 0);
        return next;
    }

    /// <summary>Both threads leave at the same moment, if both have a CPU.</summary>
    private sealed class Meeting
    {
        private int _carrier;
        private int _watcher;
        private int _end;

        public void Carrier(int round)
        {
            Volatile.Write(ref _carrier, round);
            WaitFor(ref _watcher, round);
        }

        public void Watcher(int round)
        {
            WaitFor(ref _carrier, round);
            Volatile.Write(ref _watcher, round);
        }

        public void End(int round) => WaitFor(ref _end, round);

        public void LetEnd(int round) => Volatile.Write(ref _end, round);

        private static void WaitFor(ref int place, int round)
        {
            long limit = Environment.TickCount64 + (long)s_limit.TotalMilliseconds;
            SpinWait wait = default;
            while (Volatile.Read(ref place) != round)
            {
                Assert.True(Environment.TickCount64 < limit, "The other thread never came.");
                wait.SpinOnce(sleep1Threshold: -1);
            }
        }
    }
}
