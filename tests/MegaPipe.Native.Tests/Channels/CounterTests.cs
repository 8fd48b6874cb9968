// What the counters say of batches, connections and handles.
using System.Net.Sockets;
using MegaPipe.Native.Tests.Support;

namespace MegaPipe.Native.Tests.Channels;

public sealed class CounterTests
{
    [Fact]
    public void Requests_BelowTheThreshold_MakeNoSystemCallUntilFlush()
    {
        using ChannelHarness harness = new(new ChannelConfig { BatchThreshold = 8 });
        long[] handles = Connections(harness, 8);
        ulong before = harness.Counters.SystemCalls;

        for (int i = 0; i < 7; i++)
        {
            Assert.Equal(0, harness.Channel.ReadStart(handles[i]));
        }

        Assert.Equal(before, harness.Counters.SystemCalls);
        Assert.True(harness.Channel.Flush() >= 7);
        Assert.Equal(before + 1, harness.Counters.SystemCalls);
    }

    [Fact]
    public void Requests_AtTheThreshold_AreFlushedAsOneBatch()
    {
        using ChannelHarness harness = new(new ChannelConfig { BatchThreshold = 8 });
        long[] handles = Connections(harness, 8);
        harness.Channel.Flush();
        ulong before = harness.Counters.SystemCalls, requests = harness.Counters.Requests;

        foreach (long handle in handles)
        {
            Assert.Equal(0, harness.Channel.ReadStart(handle));
        }

        Assert.Equal(before + 1, harness.Counters.SystemCalls);
        Assert.Equal(requests + 8, harness.Counters.Requests);
    }

    [Fact]
    public void Counters_OfConnections_FollowTheirLife()
    {
        using ChannelHarness harness = new();
        long[] handles = Connections(harness, 3);

        Assert.Equal(3ul, harness.Counters.Accepted);
        Assert.Equal(4ul, harness.Counters.HandlesLive);
        Assert.True(harness.Counters.Events >= 3);
        Assert.True(harness.Counters.Dispatches is >= 1 and <= 3);
        harness.Close(handles[0]);
        Assert.Equal(3ul, harness.Counters.HandlesLive);
        Assert.Equal(3ul, harness.Counters.Accepted);
    }

    [Fact]
    public void Echo_OfManyConnections_TakesFewerSystemCallsThanOperations()
    {
        const int Count = 64, Rounds = 20;
        using ChannelHarness harness = new();
        harness.Listen(SocketKind.Unix, out Socket listener, AcceptFlags.Keep | AcceptFlags.LwSocket);
        List<(long Handle, Socket Client)> all = [];
        for (int i = 0; i < Count; i++)
        {
            long handle = harness.Connection(listener, out Socket client);
            Assert.Equal(0, harness.Channel.ReadStart(handle));
            all.Add((handle, client));
        }

        byte[] reply = SocketExtensions.Pattern(64);
        ulong before = harness.Counters.SystemCalls;
        for (int round = 0; round < Rounds; round++)
        {
            all.ForEach(connection => connection.Client.Send(reply));
            for (int i = 0; i < Count; i++)
            {
                ChannelEvent read = harness.Await(Stage.Read);
                Assert.Equal(0, harness.Channel.Release(read.Lease));
                Assert.Equal(0, harness.Channel.Write(read.Handle, PinnedMemory.AddressOf(reply), 64));
            }

            for (int i = 0; i < Count; i++)
            {
                Assert.Equal(64, harness.Next(Stage.Write).Result);
            }
        }

        ulong calls = harness.Counters.SystemCalls - before;
        Assert.True(calls < Count * Rounds / 2, $"{calls} system calls for {Count * Rounds} reads and writes each");
    }

    private static long[] Connections(ChannelHarness harness, int count)
    {
        harness.Listen(SocketKind.Ipv4, out Socket listener);
        return [.. Enumerable.Range(0, count).Select(_ => harness.Connection(listener, out Socket _))];
    }
}
