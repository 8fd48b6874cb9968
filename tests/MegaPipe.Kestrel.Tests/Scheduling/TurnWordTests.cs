// The word itself, without a channel: what each side may do in each of its states, and that one of two wins.
using MegaPipe.Kestrel.Internal.Carrying;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class TurnWordTests
{
    private Turn _turn;

    [Fact]
    public void Carrier_OutsideOfTheApplication_KeepsTheChannel()
    {
        Assert.Equal((0, -1), (_turn.Epoch, _turn.EpochInApplication));
        Assert.Equal(-1, _turn.TryTakeAway(0));
        _turn.Enter(0);
        Assert.Equal((0, 0), (_turn.Epoch, _turn.EpochInApplication));
        Assert.True(_turn.TryLeave(0));
        Assert.Equal(-1, _turn.EpochInApplication);
        Assert.Equal(-1, _turn.TryTakeAway(0));
        Assert.False(_turn.TryLeave(0));
    }

    [Fact]
    public void TakeAway_InTheApplication_OnceAndForThatEpochOnly()
    {
        _turn.Enter(0);
        Assert.Equal(-1, _turn.TryTakeAway(1));
        Assert.Equal(1, _turn.TryTakeAway(0));
        Assert.Equal((1, -1), (_turn.Epoch, _turn.EpochInApplication));
        Assert.Equal(-1, _turn.TryTakeAway(0));
        Assert.False(_turn.TryLeave(0)); // the carrier that lost it
        _turn.Enter(1);
        Assert.False(_turn.TryLeave(0));
        Assert.True(_turn.TryLeave(1));
    }

    [Fact]
    public void TakeAwayAndLeave_AtTheSameMoment_OneOfThemWins()
    {
        const int Rounds = 20_000;
        const int MostRounds = 100_000; // on a machine so busy that one side always comes first
        Edge edge = new();
        long epoch = 0, next = 0;
        int asked = 0, answered = 0, taken = 0, wrong = 0;
        Thread watcher = new(() =>
        {
            for (int round = 1; ; round++)
            {
                WaitFor(ref asked, round);
                if (epoch < 0)
                {
                    return;
                }

                edge.DelayWatcher();
                next = _turn.TryTakeAway(epoch);
                Volatile.Write(ref answered, round);
            }
        });
        watcher.Start();
        int rounds = 0;
        while (++rounds <= Rounds || (taken == 0 && rounds <= MostRounds))
        {
            _turn.Enter(epoch);
            Volatile.Write(ref asked, rounds);
            edge.DelayCarrier();
            bool left = _turn.TryLeave(epoch);
            WaitFor(ref answered, rounds);
            edge.Learn(watcherWasFirst: next >= 0);
            wrong += left == (next >= 0) ? 1 : 0;
            taken += next >= 0 ? 1 : 0;
            epoch = Math.Max(epoch, next);
        }

        epoch = -1;
        Volatile.Write(ref asked, rounds);
        watcher.Join();
        Assert.Equal(0, wrong);
        Assert.InRange(taken, 1, rounds);
        Assert.Equal(taken, _turn.Epoch);
    }

    private static void WaitFor(ref int place, int round)
    {
        SpinWait wait = default;
        while (Volatile.Read(ref place) != round)
        {
            wait.SpinOnce(sleep1Threshold: -1);
        }
    }
}
