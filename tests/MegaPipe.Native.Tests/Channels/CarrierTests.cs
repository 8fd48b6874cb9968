// Threads: waking a sleeping carrier, and giving the channel to another one while requests are in flight.
using System.Diagnostics;
using System.Net.Sockets;
using MegaPipe.Native.Tests.Support;

namespace MegaPipe.Native.Tests.Channels;

public sealed class CarrierTests
{
    private const long NoLimit = -1;

    public static TheoryData<bool> WakeModes => new(false, true);

    [Theory]
    [MemberData(nameof(WakeModes))]
    public void Wake_FromAnotherThread_EndsASleep(bool eventFd)
    {
        using ChannelHarness harness = new(Config(eventFd));
        ChannelEvent[] events = Channel.AllocateEvents(8);
        using ThreadGuard waker = new(() =>
        {
            // A sleeping carrier is seen in the counters: it entered the kernel to wait.
            SpinWait.SpinUntil(() => harness.Counters.Waits > 0 || harness.Counters.Wakes > 0, 50);
            Assert.True(harness.Channel.Wake());
        });

        Assert.Equal(0, harness.Channel.Dispatch(events, NoLimit));
    }

    [Theory]
    [MemberData(nameof(WakeModes))]
    public void Wake_BeforeADispatch_CountsOnce(bool eventFd)
    {
        using ChannelHarness harness = new(Config(eventFd));
        ChannelEvent[] events = Channel.AllocateEvents(8);

        Assert.True(harness.Channel.Wake());
        Assert.True(harness.Channel.Wake());

        Assert.Equal(0, harness.Channel.Dispatch(events, NoLimit));
        long start = Stopwatch.GetTimestamp();
        Assert.Equal(0, harness.Channel.Dispatch(events, 20_000_000));
        Assert.True(Stopwatch.GetElapsedTime(start) >= TimeSpan.FromMilliseconds(19));
        Assert.Equal(0ul, harness.Counters.Wakes);
    }

    [Fact]
    public void Wake_ManyTimesWhileTheCarrierRuns_NeverLosesOne()
    {
        const int Rounds = 5000;
        using ChannelHarness harness = new();
        ChannelEvent[] events = Channel.AllocateEvents(8);
        int asked = 0, seen = 0;
        using ThreadGuard waker = new(() =>
        {
            for (int i = 1; i <= Rounds; i++)
            {
                Volatile.Write(ref asked, i);
                harness.Channel.Wake();
                SpinWait.SpinUntil(() => Volatile.Read(ref seen) == i);
            }
        });

        while (seen < Rounds)
        {
            // Without a limit: a lost wake-up hangs, and the waker's own patience ends the test.
            harness.Channel.Dispatch(events, 5_000_000_000);
            Volatile.Write(ref seen, Volatile.Read(ref asked));
        }

        Assert.Equal(Rounds, seen);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Carrier_Changed_EventsOfTheFirstOnesRequestsReachTheSecond(bool firstSpins)
    {
        using ChannelHarness harness = new();
        harness.Listen(SocketKind.Ipv4, out Socket listener);
        long handle = harness.Connection(listener, out Socket client);
        using ManualResetEventSlim armed = new(), served = new();
        bool stop = false;

        using ThreadGuard first = new(() =>
        {
            Assert.Equal(0, harness.Channel.ReadStart(handle));
            Assert.True(harness.Channel.Flush() >= 0);
            armed.Set();
            // Stuck in application code: asleep in the kernel, or spinning.
            while (firstSpins && !Volatile.Read(ref stop))
            {
                Thread.SpinWait(100);
            }

            served.Wait();
        });
        armed.Wait();

        for (int round = 0; round < 50; round++)
        {
            client.Send("ping"u8);
            Assert.Equal("ping"u8.ToArray(), harness.ReadLeased(4));
            byte[] pong = SocketExtensions.Pattern(4);
            Assert.Equal(0, harness.Channel.Write(handle, PinnedMemory.AddressOf(pong), 4));
            Assert.Equal(4, harness.Next(Stage.Write).Result);
            Assert.Equal(pong, client.ReceiveExactly(4));
        }

        Volatile.Write(ref stop, true);
        served.Set();
        harness.Close(handle);
    }

    [Fact]
    public void Carrier_ChangedEachRound_ServesOn()
    {
        const int Rounds = 300;
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Unix, out Socket client);
        Assert.Equal(0, harness.Channel.ReadStart(handle));
        using SemaphoreSlim mine = new(1), other = new(0);
        int rounds = 0;

        void Carry(SemaphoreSlim turn, SemaphoreSlim next)
        {
            while (true)
            {
                Assert.True(turn.Wait(ChannelHarness.Patience));
                if (rounds < Rounds)
                {
                    client.Send("ping"u8);
                    Assert.Equal("ping"u8.ToArray(), harness.ReadLeased(4));
                    rounds++;
                    next.Release();
                    continue;
                }

                next.Release();
                return;
            }
        }

        using (ThreadGuard second = new(() => Carry(other, mine)))
        {
            Carry(mine, other);
        }

        Assert.Equal(Rounds, rounds);
        harness.Close(handle);
    }

    private static ChannelConfig Config(bool eventFd) =>
        new() { Flags = eventFd ? ChannelConfigFlags.WakeEventFd : ChannelConfigFlags.None };
}
