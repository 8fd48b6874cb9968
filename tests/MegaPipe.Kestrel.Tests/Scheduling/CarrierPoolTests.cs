// The process's carriers: they end when there are too many of them, and there may be none to start.
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class CarrierPoolTests : IDisposable
{
    private readonly Action<Thread> _starter = CarrierThread.Starter;
    private readonly TimeSpan _idleTime = CarrierPool.Instance.IdleTime;

    public void Dispose()
    {
        CarrierThread.Starter = _starter;
        CarrierPool.Instance.IdleTime = _idleTime;
    }

    [Fact]
    public async Task Spares_WithNothingToCarry_End()
    {
        CarrierPool pool = new() { IdleTime = TimeSpan.FromMilliseconds(50) };
        Carrier[] carriers = pool.TryTake(10)!;
        Assert.Equal(10, pool.LiveCount);
        Assert.Equal(0, pool.SpareCount);
        Array.ForEach(carriers, pool.ReturnSpare);
        await Eventually.True(() => pool.LiveCount == 0, () => $"{pool.LiveCount} left");
        Assert.Equal(0, pool.SpareCount);
        Assert.NotNull(pool.TryTakeSpare(1));
        Assert.Null(pool.TryTakeSpare(1));
    }

    [Fact]
    public void HandOver_CarrierIsBackFromTheApplication_TheOtherOneStaysASpare()
    {
        CarrierPool pool = new();
        using TestChannel test = new(carriers: 1);
        for (int i = 0; i < 3; i++)
        {
            Assert.False(pool.TryHandOver(test.Channel, test.Channel.HandOvers));
            Assert.Equal((1, 1), (pool.LiveCount, pool.SpareCount));
        }
    }

    [Fact]
    public void NoRoomForThreads_ChannelsGetTheirCarriersAndHandOversNone_UntilThereIsRoom()
    {
        int room = 0;
        CarrierPool pool = new() { Room = () => room };
        Assert.Null(pool.TryTakeSpare(100));
        Assert.True(pool.ThreadsRefused);
        Assert.NotNull(pool.TryTake(2)); // at once: a channel that is made needs one
        Assert.Equal(2, pool.LiveCount);
        Assert.Null(pool.TryTakeSpare(100));
        room = 1;
        Assert.True(SpinWait.SpinUntil(
            () =>
            {
                pool.RetryRefused();
                return !pool.ThreadsRefused;
            },
            InTimeExtensions.Limit));
        Assert.Equal((3, 1), (pool.LiveCount, pool.SpareCount));
    }

    [Fact]
    public void ThreadRefused_NoCarrierAndNoneLeft_UntilOneCanBeStartedAgain()
    {
        CarrierPool pool = new();
        int asked = 0;
        CarrierThread.Starter = _ =>
        {
            asked++;
            throw new InsufficientMemoryException();
        };
        Assert.Null(pool.TryTakeSpare(100));
        Assert.True(pool.ThreadsRefused);
        Assert.Equal(0, pool.LiveCount);
        Assert.Null(pool.TryTakeSpare(100));
        pool.RetryRefused();
        Assert.Equal(1, asked); // not at once
        CarrierThread.Starter = _starter;
        Assert.True(SpinWait.SpinUntil(
            () =>
            {
                pool.RetryRefused();
                return !pool.ThreadsRefused;
            },
            InTimeExtensions.Limit));
        Assert.Equal(1, pool.LiveCount);
        Assert.NotNull(pool.TryTakeSpare(100));
    }

    [Fact]
    public async Task Start_OneThreadTooFew_ThrowsAndLeavesNothing_ThenStarts()
    {
        // Such as kept from earlier tests would do instead of the one that is refused.
        CarrierPool.Instance.IdleTime = TimeSpan.FromMilliseconds(1);
        await using (await SchedulingHost.StartAsync(context => context.Answer("x")))
        {
        }

        await Eventually.True(() => CarrierPool.Instance.LiveCount == 0);
        CarrierPool.Instance.IdleTime = TimeSpan.FromMilliseconds(100);
        int carriers = 0;
        CarrierThread.Starter = thread =>
        {
            if (thread.Name!.StartsWith(SchedulingHost.Carrier, StringComparison.Ordinal) && ++carriers == 3)
            {
                throw new InsufficientMemoryException();
            }

            _starter(thread);
        };
        PlatformNotSupportedException error = await Assert.ThrowsAsync<PlatformNotSupportedException>(
            () => SchedulingHost.StartAsync(context => context.Answer("x"), options => options.Channels = 4));
        Assert.Contains("No thread could be started for a channel (", error.Message, StringComparison.Ordinal);
        await Eventually.True(() => CarrierPool.Instance.LiveCount == 0);
        CarrierThread.Starter = _starter;
        await Task.Delay(150); // as long as the pool does not ask again
        await using HostHarness host = await SchedulingHost.StartAsync(
            context => context.Answer("x"), options => options.Channels = 4);
        Assert.Equal("x", await (await host.ConnectPeerAsync()).GetAsync("/"));
    }

    [Fact]
    public async Task BurstOfBlockingHandlers_CarriersComeDown_AndWhatTheyHadArmedGoesOn()
    {
        const int Handlers = 30;
        CarrierPool.Instance.IdleTime = TimeSpan.FromMilliseconds(100);
        using ManualResetEventSlim release = new();
        int blocked = 0;
        await using HostHarness host = await SchedulingHost.StartAsync(
            context =>
            {
                if (context.Request.Path == "/block")
                {
                    Interlocked.Increment(ref blocked);
                    release.Wait(InTimeExtensions.Limit);
                }

                return context.Answer("x");
            },
            options => options.Channels = 2);
        List<HttpPeer> peers = [];
        for (int i = 0; i < Handlers; i++)
        {
            peers.Add(await host.ConnectPeerAsync());
            await peers[i].GetAsync("/"); // its receive is armed by the carrier of this moment
            await peers[i].SendAsync(HttpPeer.Get("/block"));
            await Eventually.True(() => Volatile.Read(ref blocked) == i + 1);
        }

        int most = CarrierPool.Instance.LiveCount;
        Assert.InRange(most, Handlers / 2, int.MaxValue);
        release.Set();
        foreach (HttpPeer peer in peers)
        {
            Assert.Equal((200, "x"), await peer.ReceiveAsync());
        }

        // Two carry, two are the reserve.
        await Eventually.True(
            () => CarrierPool.Instance.LiveCount == 4, () => $"{CarrierPool.Instance.LiveCount} left");
        for (int round = 0; round < 3; round++)
        {
            await Task.WhenAll(peers.Select(async peer => Assert.Equal("x", await peer.GetAsync("/"))));
        }
    }
}
