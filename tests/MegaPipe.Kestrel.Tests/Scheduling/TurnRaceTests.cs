// The exchanges on the turn word at the worst moment: the watcher takes the channel while the carrier takes it back.
using MegaPipe.Kestrel.Internal.Carrying;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class TurnRaceTests
{
    /// <summary>
    /// Rounds in which both came within a microsecond or two. A machine so busy that one side always waits for a CPU
    /// has few of them, and is given up after a time.
    /// </summary>
    private const int CloseRounds = 20_000;

    private const int CloseRoundsForTheRing = 500_000;

    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    [Fact]
    public void TakeAway_AsTheContinuationEnds_OneOfThemHasTheChannel()
    {
        using TestChannel test = new(carriers: 2);
        int taken = 0;
        Meeting meeting = new();
        Edge edge = new();
        for (int round = 1; (edge.CloseRounds < CloseRounds && !edge.IsOver) || taken == 0; round++)
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
        Meeting meeting = new();
        Edge edge = new();
        int both = 0, inRing = 0, taken = 0;
        long next = -1;
        bool end = false;
        // All rounds in one continuation: its thread takes over for the next carrier, which costs far less.
        test.Ready(new TestContinuation(test.Scheduling, () =>
        {
            for (int round = 1; !end; round++)
            {
                meeting.Carrier(round);
                edge.DelayCarrier();
                bool entered = test.Channel.TryEnterRing();
                meeting.End(round);
                both += entered && next >= 0 ? 1 : 0;
                inRing += entered ? 1 : 0;
                if (next >= 0)
                {
                    test.Channel.Board(next);
                }

                test.Channel.LeaveRing();
            }
        }));
        for (int round = 1; !end; round++)
        {
            next = TakeAway(test, meeting, edge, round);
            taken += next >= 0 ? 1 : 0;
            end = (edge.CloseRounds >= CloseRoundsForTheRing || edge.IsOver) && taken > 0 && taken < round;
            meeting.LetEnd(round);
        }

        // The carrier of the first epoch finds that it is over.
        TestChannel.WaitUntil(() => test.FreeCarriers == 2, () => "The carrier never came back.");
        Assert.True(test.TryHandOver());
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
        /// <summary>Some microseconds: one that yields comes back too late.</summary>
        private const int SpinsBeforeItYields = 10_000;

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
            for (int spins = 0; Volatile.Read(ref place) != round; spins++)
            {
                if (spins > SpinsBeforeItYields)
                {
                    Assert.True(Environment.TickCount64 < limit, "The other thread never came.");
                    wait.SpinOnce(sleep1Threshold: -1);
                }
            }
        }
    }
}
