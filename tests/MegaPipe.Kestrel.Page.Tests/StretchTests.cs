// Which samples of a thread are whose: the times at which it was kept.
using MegaPipe.Kestrel.Stacks.Internal;

namespace MegaPipe.Kestrel.Page.Tests;

public sealed class StretchTests
{
    private static readonly StuckThread s_stuck = new("GET /a", 7) { AtMost = TimeSpan.FromSeconds(1) };
    private readonly Stretches _stretches = new();

    [Fact]
    public void Blocked_IsTheTimeBeforeIt_OnItsThreadOnly()
    {
        _stretches.HandedOver(7, 1, 12);
        _stretches.Blocked(7, "GET /a", 1, 30, at: 40);
        Assert.Null(_stretches.Find(7, 9.9));
        Assert.Equal(("GET /a", 1), Of(7, 10));
        Assert.Equal(("GET /a", 1), Of(7, 40));
        Assert.Null(_stretches.Find(7, 40.1));
        Assert.Null(_stretches.Find(8, 20));
    }

    [Fact]
    public void Blocked_OfTwoEndpointsOneAfterTheOther_AreTwo()
    {
        _stretches.Blocked(7, "GET /a", 0, 10, at: 20);
        _stretches.Blocked(7, "GET /b", -1, 10, at: 40);
        Assert.Equal(("GET /a", 0), Of(7, 15));
        Assert.Null(_stretches.Find(7, 25));
        Assert.Equal(("GET /b", null), Of(7, 35));
    }

    [Fact]
    public void StuckFromBeforeTheFirstLook_IsAllOfIt()
    {
        _stretches.StillStuck(s_stuck with { Before = true }, 50, [10, 20, 60]);
        Assert.Equal(("GET /a", null), Of(7, 10));
        Assert.Null(_stretches.Find(7, 60));
    }

    [Fact]
    public void StuckAtBothLooks_AndNotBetween_IsTheLastTime()
    {
        _stretches.Blocked(7, "GET /a", -1, 8, at: 15); // it came back, and is stuck again
        _stretches.StillStuck(s_stuck with { Before = true }, 50, [10, 20, 30]);
        Assert.Equal(("GET /a", null), Of(7, 10));
        Assert.Null(_stretches.Find(7, 20));
        Assert.Equal(("GET /a", null), Of(7, 30));
    }

    [Fact]
    public void StuckAtBothLooks_NoLongerThanTheEndpointsLongest()
    {
        _stretches.StillStuck(s_stuck with { Before = true, AtMost = TimeSpan.FromMilliseconds(35) }, 50, [10, 20, 30]);
        Assert.Null(_stretches.Find(7, 10));
        Assert.Equal(("GET /a", null), Of(7, 20));
    }

    [Fact]
    public void StuckSinceAHandOver_CountsFromThere()
    {
        _stretches.HandedOver(7, 3, 15);
        _stretches.StillStuck(s_stuck, 50, [10, 20, 30]);
        Assert.Null(_stretches.Find(7, 10));
        Assert.Equal(("GET /a", 3), Of(7, 20));
    }

    [Fact]
    public void StuckSinceNobodyKnows_IsTheLastSampleBeforeTheLook()
    {
        _stretches.HandedOver(7, 3, 5);
        _stretches.Blocked(7, "GET /b", 3, 4, at: 8); // that one is over
        _stretches.StillStuck(s_stuck, 50, [10, 20, 30, 60]);
        Assert.Null(_stretches.Find(7, 20));
        Assert.Equal(("GET /a", null), Of(7, 30));
        Assert.Null(_stretches.Find(7, 60));
    }

    [Fact]
    public void StuckAndNeverSampled_IsNothing()
    {
        _stretches.StillStuck(s_stuck, 50, []);
        Assert.Null(_stretches.Find(7, 50));
    }

    [Theory]
    [InlineData("System.Threading.Thread.Sleep(int32)", "System.Threading.Thread.Sleep")]
    [InlineData("dynamicClass.lambda_method1(pMT: 1,class A)", "dynamicClass.lambda_method1")]
    [InlineData("A.B", "A.B")]
    [InlineData("", "?")]
    public void Method_HasNoParameters(string name, string expected) =>
        Assert.Equal(expected, StackReader.Method(name));

    private (string, int?) Of(int thread, double at)
    {
        Stretch stretch = Assert.NotNull(_stretches.Find(thread, at));
        return (stretch.Title, stretch.Channel);
    }
}
