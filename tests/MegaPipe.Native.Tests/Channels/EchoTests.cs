// Bytes through the channel and back, for each family of sockets, with and without fds and leases.
using System.Net.Sockets;
using MegaPipe.Native.Tests.Support;

namespace MegaPipe.Native.Tests.Channels;

public sealed class EchoTests
{
    private const int RoundBytes = 3000;

    public static TheoryData<SocketKind, bool> KindsAndLwSockets
    {
        get
        {
            TheoryData<SocketKind, bool> data = [];
            foreach (SocketKind kind in (SocketKind[])
                [SocketKind.Ipv4, SocketKind.Ipv6, SocketKind.Unix, SocketKind.Abstract])
            {
                data.Add(kind, false);
                data.Add(kind, true);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(KindsAndLwSockets))]
    public void Echo_WithLeasedReads_ReturnsEveryByte(SocketKind kind, bool lwSocket)
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(kind, out Socket client, Flags(lwSocket));
        Assert.Equal(0, harness.Channel.ReadStart(handle));
        byte[] pattern = SocketExtensions.Pattern(RoundBytes);

        for (int round = 0; round < 20; round++)
        {
            client.Send(pattern);
            byte[] received = harness.ReadLeased(RoundBytes);
            Assert.Equal(pattern, received);
            Write(harness, handle, pattern);
            Assert.Equal(pattern, client.ReceiveExactly(RoundBytes));
        }

        client.Shutdown(SocketShutdown.Send);
        ChannelEvent end = harness.Next(Stage.Read);
        Assert.Equal(0, end.Result);
        Assert.False(end.HasMore);
        harness.Close(handle);
        Assert.Equal(0, client.Receive(new byte[1]));
    }

    [Theory]
    [MemberData(nameof(KindsAndLwSockets))]
    public void Echo_WithPlainReads_ReturnsEveryByte(SocketKind kind, bool lwSocket)
    {
        using ChannelHarness harness = new(new ChannelConfig { Flags = ChannelConfigFlags.NoLease });
        long handle = harness.Connection(kind, out Socket client, Flags(lwSocket));
        byte[] pattern = SocketExtensions.Pattern(RoundBytes);
        byte[] buffer = GC.AllocateUninitializedArray<byte>(RoundBytes, pinned: true);

        Assert.Equal(0, harness.Channel.BufferCount);
        client.Send(pattern);
        for (int at = 0; at < RoundBytes;)
        {
            nint address = PinnedMemory.AddressOf(buffer.AsSpan(at));
            Assert.Equal(0, harness.Channel.Read(handle, address, RoundBytes - at));
            Assert.Equal(ChannelError.Busy, harness.Channel.Read(handle, address, 1));
            ChannelEvent read = harness.Next(Stage.Read);
            Assert.True(read.Result > 0, read.ToString());
            Assert.False(read.IsLeased);
            at += read.Result;
        }

        Assert.Equal(pattern, buffer);
        Write(harness, handle, buffer);
        Assert.Equal(pattern, client.ReceiveExactly(RoundBytes));
        harness.Close(handle);
    }

    [Theory]
    [MemberData(nameof(SocketKind.All), MemberType = typeof(SocketKind))]
    public void WriteVectors_OfManySegments_KeepsTheirOrder(SocketKind kind)
    {
        const int Segments = 1024, SegmentBytes = 1000;
        using ChannelHarness harness = new();
        long handle = harness.Connection(kind, out Socket client);
        byte[] pattern = SocketExtensions.Pattern(Segments * SegmentBytes);
        using IoVectorArray vectors = new(16);
        for (int i = 0; i < Segments; i++)
        {
            Assert.True(vectors.TryAdd(PinnedMemory.AddressOf(pattern.AsSpan(i * SegmentBytes)), SegmentBytes));
        }

        Assert.Equal(0, harness.Channel.WriteVectors(handle, vectors));
        Assert.Equal(ChannelError.Busy, harness.Channel.Write(handle, vectors.Vectors[0].Address, 1));
        Assert.True(harness.Channel.Flush() >= 0);
        Task<byte[]> receiving = Task.Run(() => client.ReceiveExactly(pattern.Length));
        ChannelEvent written = harness.Next(Stage.Write);

        Assert.Equal(pattern.Length, written.Result);
        Assert.True(receiving.Wait(ChannelHarness.Patience));
        Assert.Equal(pattern, receiving.Result);
        harness.Close(handle);
    }

    [Fact]
    public void Connect_ToAnotherSocket_MovesBytesBothWays()
    {
        using ChannelHarness harness = new();
        Socket listener = harness.Own(SocketKind.Ipv4.Listen());
        long handle = harness.Track(harness.Channel.Connect(listener.LocalEndPoint!, cookie: 77));
        ChannelEvent connected = harness.Next(Stage.Accept);
        using Socket peer = listener.Accept();
        byte[] pattern = SocketExtensions.Pattern(RoundBytes);

        Assert.True(connected.IsConnected);
        Assert.Equal(handle, connected.Handle);
        Assert.Equal(77ul, connected.Cookie);
        Assert.Equal(listener.LocalEndPoint, harness.Channel.PeerEndPoint(handle));
        Write(harness, handle, pattern);
        Assert.Equal(pattern, peer.ReceiveExactly(RoundBytes));
        Assert.Equal(0, harness.Channel.ReadStart(handle));
        peer.Send(pattern);
        Assert.Equal(pattern, harness.ReadLeased(RoundBytes));
        harness.Close(handle);
    }

    [Fact]
    public void Transfer_ToAnotherChannel_ArrivesThereAndLives()
    {
        using ChannelHarness target = new();
        using ChannelHarness harness = new(outer: target);
        long handle = harness.Connection(SocketKind.Ipv4, out Socket client);

        Assert.Equal(0, harness.Channel.Transfer(handle, target.Channel, cookie: 5));
        ChannelEvent given = harness.Next(Stage.Close);
        ChannelEvent arrived = target.Next(Stage.Accept);

        Assert.True(given.IsGiven && given.IsRetired, given.ToString());
        Assert.True(arrived.IsTransferred);
        Assert.Equal(5ul, arrived.Cookie);
        Assert.Equal(client.LocalEndPoint, target.Channel.PeerEndPoint(arrived.Handle));
        Write(target, arrived.Handle, SocketExtensions.Pattern(100));
        Assert.Equal(SocketExtensions.Pattern(100), client.ReceiveExactly(100));
        target.Close(arrived.Handle);
    }

    private static AcceptFlags Flags(bool lwSocket) =>
        AcceptFlags.Keep | (lwSocket ? AcceptFlags.LwSocket : AcceptFlags.None);

    private static void Write(ChannelHarness harness, long handle, byte[] pinned)
    {
        Assert.Equal(0, harness.Channel.Write(handle, PinnedMemory.AddressOf(pinned), pinned.Length));
        ChannelEvent written = harness.Next(Stage.Write);
        Assert.Equal(pinned.Length, written.Result);
        Assert.Equal(handle, written.Handle);
    }
}
