// The balancer alone: idle channels that the test declares abandoned, and listeners and a kernel that it makes up.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Balancing;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Internal.Steering;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Balancing;

[Trait("Transport", "MegaPipe"), Trait("Area", "Balancing")]
public sealed class BalancerTests
{
    private const int Groups = 64;

    [Fact]
    public void Look_ChannelHasNoCarrier_KernelAndListenersAreToldAndToldBack()
    {
        using LogCapture logs = new();
        using TestChannel first = new(carriers: 1);
        using TestChannel second = new(carriers: 1);
        using TestChannel third = new(carriers: 1);
        TransportChannel[] channels = [first.Channel, second.Channel, third.Channel];
        Kernel kernel = new();
        Listener listener = new();
        Balancer balancer = new(
            channels, kernel, Groups, new MegaPipeTransportOptions(), logs.CreateLogger("MegaPipe.Kestrel"));
        balancer.Add(listener);
        long now = Stopwatch.GetTimestamp();
        Assert.True(SpinWait.SpinUntil(
            () => Array.TrueForAll(channels, channel => channel.IsWaiting), InTimeExtensions.Limit));
        Look(2);
        Assert.Empty(kernel.Tables);
        Assert.Equal(22, channels[0].GroupCount);

        channels[1].IsAbandoned = true;
        Look(1);
        ushort[] without = Assert.Single(kernel.Tables);
        Assert.DoesNotContain((ushort)1, without);
        Assert.Equal(["drain 1 by 2"], listener.Calls);
        Assert.Equal(0, channels[1].GroupCount);
        Assert.Equal(7, channels[1].QueuedCount);

        channels[2].IsAbandoned = true; // the helper, too
        Look(1);
        Assert.All(kernel.Tables[^1], owner => Assert.Equal(0, owner));
        Assert.Equal(["drain 1 by 2", "drain 1 by 0", "drain 2 by 0"], listener.Calls);

        channels[1].IsAbandoned = channels[2].IsAbandoned = false;
        Look(BalancingSettings.Default.BackLooks);
        Assert.Equal(FlowTable.InTurn(3)[..Groups], kernel.Tables[^1]);
        Assert.Equal(["end 1", "end 2"], listener.Calls[3..]);
        Assert.Equal(2, logs.Count(115));
        Assert.Equal(2, logs.Count(116));

        balancer.Remove(listener);
        channels[1].IsAbandoned = true;
        Look(1);
        Assert.Equal(5, listener.Calls.Count);

        void Look(int times)
        {
            for (int i = 0; i < times; i++)
            {
                now += Stopwatch.Frequency / 50;
                balancer.Look(now);
            }
        }
    }

    [Fact]
    public void Look_NothingHappens_ItSaysSoAfterAWhileAndUntilSomethingDoes()
    {
        using TestChannel first = new(carriers: 1);
        using TestChannel second = new(carriers: 1);
        Balancer balancer = new(
            [first.Channel, second.Channel], new Kernel(), Groups, new MegaPipeTransportOptions(),
            Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
        long now = Stopwatch.GetTimestamp();
        Assert.True(SpinWait.SpinUntil(
            () => first.Channel.IsWaiting && second.Channel.IsWaiting, InTimeExtensions.Limit));
        bool active = true;
        for (int i = 0; i < 1_000 && active; i++)
        {
            active = balancer.Look(now += Stopwatch.Frequency / 50);
        }

        Assert.False(active);
    }

    private sealed class Kernel : IFlowSteering
    {
        public List<ushort[]> Tables { get; } = [];

        public bool IsActive => true;

        public bool Apply(ReadOnlySpan<ushort> channelOfGroup)
        {
            Tables.Add(channelOfGroup.ToArray());
            return true;
        }
    }

    private sealed class Listener : IBalancedListener
    {
        public List<string> Calls { get; } = [];

        public int QueueDepth(int channel) => channel == 1 ? 7 : 0;

        public void Drain(int hung, int helper) => Calls.Add($"drain {hung} by {helper}");

        public void EndDrains(int back) => Calls.Add($"end {back}");
    }
}
