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
        int[] wins = new int[2];
        long[] epochs = new long[Rounds + 1];
        int wrong = 0;
        bool left = false;
        int ready = 0, done = 0;
        Thread watcher = new(() =>
        {
            for (int round = 1; round <= Rounds; round++)
            {
                SpinWait wait = default;
                while (Volatile.Read(ref ready) != round)
                {
                    wait.SpinOnce(sleep1Threshold: -1);
                }

                epochs[round] = _turn.TryTakeAway(epochs[round - 1]);
                Volatile.Write(ref done, round);
            }
        });
        watcher.Start();
        for (int round = 1; round <= Rounds; round++)
        {
            long epoch = epochs[round - 1];
            _turn.Enter(epoch);
            Volatile.Write(ref ready, round);
            left = _turn.TryLeave(epoch);
            SpinWait wait = default;
            while (Volatile.Read(ref done) != round)
            {
                wait.SpinOnce(sleep1Threshold: -1);
            }

            bool taken = epochs[round] >= 0;
            wrong += taken == left ? 1 : 0;
            wins[taken ? 1 : 0]++;
            epochs[round] = taken ? epochs[round] : epoch;
        }

        watcher.Join();
        Assert.Equal(0, wrong);
        Assert.Equal(wins[1], _turn.Epoch);
    }
}
