// What a channel expects from others: it does not end before that has come, and expects nothing after its end.
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Tests.Transport;

[Trait("Transport", "MegaPipe"), Trait("Area", "Balancing")]
public sealed class ChannelArrivalsTests
{
    [Fact]
    public void TryEnd_OneIsExpected_NotBeforeItHasCome()
    {
        using TestChannel test = new(carriers: 1);
        ChannelArrivals arrivals = new(test.Channel);
        ulong number = arrivals.Number(new Taker());
        Assert.True(arrivals.TryExpect());
        Assert.True(arrivals.TryExpect());
        Assert.False(arrivals.TryEnd());
        arrivals.Forget();
        Assert.False(arrivals.TryEnd());
        Assert.IsType<Taker>(arrivals.Take(number));
        Assert.True(arrivals.TryEnd());
        Assert.False(arrivals.TryExpect());
        Assert.False(arrivals.TryExpect());
    }

    [Fact]
    public void TryExpect_AsManyAsMayComeAreOnTheirWay_NoMoreUntilOneHasCome()
    {
        using TestChannel test = new(carriers: 1);
        ChannelArrivals arrivals = new(test.Channel);
        ulong number = arrivals.Number(new Taker());
        for (int i = 0; i < ChannelArrivals.Most; i++)
        {
            Assert.True(arrivals.TryExpect());
        }

        Assert.False(arrivals.TryExpect());
        arrivals.Take(number);
        Assert.True(arrivals.TryExpect());
        Assert.False(arrivals.TryExpect());
    }

    [Fact]
    public void Number_OneIsReleased_TheNextTakerHasIt()
    {
        using TestChannel test = new(carriers: 1);
        ChannelArrivals arrivals = new(test.Channel);
        Assert.Equal(0u, arrivals.Number(new Taker()));
        Assert.Equal(1u, arrivals.Number(new Taker()));
        arrivals.Release(0);
        Taker third = new();
        Assert.Equal(0u, arrivals.Number(third));
        Assert.True(arrivals.TryExpect());
        Assert.Same(third, arrivals.Take(0));
    }

    /// <summary>One thread expects and forgets, the other ends: one of them sees the other.</summary>
    [Fact]
    public void TryEnd_WhileOthersExpect_OneOfThemSeesTheOther()
    {
        using TestChannel test = new(carriers: 1);
        for (int round = 0; round < 50; round++)
        {
            ChannelArrivals arrivals = new(test.Channel);
            bool expected = false;
            Thread other = new(() => expected = arrivals.TryExpect());
            other.Start();
            bool ended = arrivals.TryEnd();
            other.Join();
            Assert.True(ended ^ expected);
        }
    }

    private sealed class Taker : IHandleOwner
    {
        public long Handle => 0;

        public void OnEvent(in ChannelEvent channelEvent)
        {
        }

        public void Fail(Exception error)
        {
        }
    }
}
