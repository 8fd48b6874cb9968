// A channel's creation and end, and that its operations allocate nothing.
using System.Net.Sockets;
using MegaPipe.Native.Tests.Support;

namespace MegaPipe.Native.Tests.Channels;

public sealed class LifeTests
{
    [Fact]
    public void Create_WithABufferCountThatIsNoPowerOfTwo_Throws()
    {
        SocketException exception =
            Assert.Throws<SocketException>(() => Channel.Create(new ChannelConfig { BufferCount = 3 }));

        Assert.Equal(SocketError.InvalidArgument, exception.SocketErrorCode);
        Assert.Equal(ChannelError.InvalidArgument,
            Channel.TryCreate(new ChannelConfig { BufferCount = 3 }, out Channel? channel));
        Assert.Null(channel);
    }

    [Fact]
    public void Create_WithoutConstructorOfTheConfig_HasDefaults()
    {
        using Channel channel = Channel.Create(default);

        Assert.Equal(256, channel.BufferCount);
    }

    [Fact]
    public void Dispose_Twice_IsHarmlessAndEndsEveryUse()
    {
        Channel channel = Channel.Create(new ChannelConfig());
        channel.Dispose();
        channel.Dispose();
        ChannelCounters counters = default;

        Assert.True(channel.IsDisposed);
        Assert.False(channel.Wake());
        Assert.False(channel.ReadCounters(ref counters));
        Assert.Throws<ObjectDisposedException>(() => channel.Flush());
        Assert.Throws<ObjectDisposedException>(() => channel.Dispatch(new ChannelEvent[1], 0));
        Assert.Throws<ObjectDisposedException>(() => channel.Close(1));
    }

    [Fact]
    public void Dispose_WithConnectionsOpen_ClosesThem()
    {
        using Socket listener = SocketKind.Ipv4.Listen();
        Channel channel = Channel.Create(new ChannelConfig());
        ChannelEvent[] events = Channel.AllocateEvents(8);
        Assert.Equal(0, channel.Accept(channel.Register((int)listener.Handle, 1), 4, AcceptFlags.Keep));
        channel.Flush();
        using Socket client = SocketKind.ConnectTo(listener);
        Assert.Equal(1, channel.Dispatch(events, (long)ChannelHarness.Patience.TotalNanoseconds));
        Assert.Equal(0, channel.ReadStart(events[0].Handle));

        channel.Dispose();

        Assert.Equal(0, client.Receive(new byte[1]));
    }

    [Fact]
    public void Dispose_WhileOthersWakeAndCount_WaitsForThem()
    {
        for (int round = 0; round < 20; round++)
        {
            Channel channel = Channel.Create(new ChannelConfig { BufferCount = 1, QueueEntries = 8, MaxHandles = 8 });
            using ThreadGuard visitor = new(() =>
            {
                ChannelCounters counters = default;
                while (channel.Wake())
                {
                    channel.ReadCounters(ref counters);
                }
            });
            channel.Dispatch(new ChannelEvent[1], 1_000_000);
            channel.Dispose();
        }
    }

    [Fact]
    public void Channel_Forgotten_IsDestroyedByItsHandle()
    {
        int before = OpenFds.Count();
        Forget();

        Assert.True(SpinWait.SpinUntil(() =>
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            return OpenFds.Count() <= before;
        }, ChannelHarness.Patience));

        [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]
        static void Forget() => Channel.Create(new ChannelConfig()).Flush();
    }

    [Fact]
    public void Operations_OfARunningEcho_AllocateNothing()
    {
        const int WarmUp = 2000, Rounds = 1000, Windows = 3;
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Ipv4, out Socket client);
        Channel channel = harness.Channel;
        ChannelEvent[] events = Channel.AllocateEvents(64);
        byte[] request = new byte[100], reply = SocketExtensions.Pattern(100);
        using IoVectorArray vectors = new(4);
        ChannelCounters counters = default;
        channel.ReadStart(handle);
        long before = 0, least = long.MaxValue;

        for (int round = 0; round <= WarmUp + (Windows * Rounds); round++)
        {
            // The runtime allocates once in a while for itself, such as for code that it compiles anew: not every time.
            if (round >= WarmUp && round % Rounds == 0)
            {
                long now = GC.GetAllocatedBytesForCurrentThread();
                least = round == WarmUp ? least : Math.Min(least, now - before);
                before = now;
            }

            client.Send(request);
            int read = 0;
            for (bool written = false; !written;)
            {
                int count = channel.Dispatch(events, -1);
                for (int i = 0; i < count; i++)
                {
                    if (events[i].Stage == Stage.Write)
                    {
                        written = true;
                        continue;
                    }

                    read += channel.LeaseMemory(events[i]).Span.Length;
                    channel.Release(events[i].Lease);
                    if (read == request.Length)
                    {
                        vectors.Clear();
                        vectors.TryAdd(PinnedMemory.AddressOf(reply), 50);
                        vectors.TryAdd(PinnedMemory.AddressOf(reply.AsSpan(50)), 50);
                        channel.WriteVectors(handle, vectors);
                        channel.SetCookie(handle, (ulong)round);
                        channel.Wake();
                        channel.ReadCounters(ref counters);
                    }
                }
            }

            client.Receive(request);
        }

        Assert.Equal(0, least);
        harness.Close(handle);
    }
}
