// The clock of a channel's turns, with times that a test makes up.
using MegaPipe.Kestrel.Internal.Carrying;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class TurnClockTests
{
    [Fact]
    public void TakeLongestTurn_SeveralTurns_TheLongestOnce()
    {
        TurnClock clock = new();
        clock.Begin(100);
        clock.End(130);
        clock.Begin(200);
        clock.End(210);
        Assert.Equal(30, clock.TakeLongestTurn(300));
        Assert.Equal(0, clock.TakeLongestTurn(400));
    }

    [Fact]
    public void TakeLongestTurn_OneGoesOn_ItCountsUntilNow()
    {
        TurnClock clock = new();
        clock.Begin(100);
        Assert.Equal(50, clock.TakeLongestTurn(150));
        Assert.Equal(900, clock.TakeLongestTurn(1_000));
        clock.End(1_100);
        Assert.Equal(1_000, clock.TakeLongestTurn(1_200));
    }

    [Fact]
    public void TakeWork_AwakeAndAsleep_TheTimeAwakeSinceTheLastLook()
    {
        TurnClock clock = new();
        clock.WakeUp(1_000);
        Assert.Equal(100, clock.TakeWork(1_100)); // awake, and goes on
        clock.Sleep(1_150);
        Assert.Equal(50, clock.TakeWork(1_200));
        Assert.Equal(0, clock.TakeWork(1_300));
        clock.WakeUp(1_400);
        clock.Sleep(1_410);
        clock.WakeUp(1_420);
        Assert.Equal(15, clock.TakeWork(1_425));
    }

    [Fact]
    public void NextTurn_Often_CountsThem()
    {
        TurnClock clock = new();
        clock.NextTurn();
        clock.NextTurn();
        Assert.Equal(2, clock.Turns);
    }
}
