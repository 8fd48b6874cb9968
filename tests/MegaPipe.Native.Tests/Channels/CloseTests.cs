// Ends of connections: FIN, RST, half-close, and what becomes of the handle.
using System.Net.Sockets;
using MegaPipe.Native.Tests.Support;

namespace MegaPipe.Native.Tests.Channels;

public sealed class CloseTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Close_Aborting_ResetsThePeer(bool lwSocket)
    {
        using ChannelHarness harness = new();
        AcceptFlags flags = AcceptFlags.Keep | (lwSocket ? AcceptFlags.LwSocket : AcceptFlags.None);
        long handle = harness.Connection(SocketKind.Ipv4, out Socket client, flags);

        harness.Close(handle, abort: true);

        SocketException exception = Assert.Throws<SocketException>(() => client.Receive(new byte[1]));
        Assert.Equal(SocketError.ConnectionReset, exception.SocketErrorCode);
    }

    [Theory]
    [MemberData(nameof(SocketKind.All), MemberType = typeof(SocketKind))]
    public void Close_AfterAWrite_DeliversEveryByteThenEnds(SocketKind kind)
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(kind, out Socket client, AcceptFlags.Keep | AcceptFlags.LwSocket);
        byte[] pattern = SocketExtensions.Pattern(100_000);

        Assert.Equal(0, harness.Channel.Write(handle, PinnedMemory.AddressOf(pattern), pattern.Length));
        Task<byte[]> receiving = Task.Run(() => client.ReceiveExactly(pattern.Length));
        Assert.Equal(pattern.Length, harness.Next(Stage.Write).Result);
        harness.Close(handle);

        Assert.True(receiving.Wait(ChannelHarness.Patience));
        Assert.Equal(pattern, receiving.Result);
        Assert.Equal(0, client.Receive(new byte[1]));
    }

    [Theory]
    [MemberData(nameof(SocketKind.All), MemberType = typeof(SocketKind))]
    public void Disconnect_OfTheWriteDirection_EndsThePeersStreamAndStillReads(SocketKind kind)
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(kind, out Socket client);

        Assert.Equal(0, harness.Channel.Disconnect(handle, ShutDirection.Write));
        ChannelEvent disconnected = harness.Next(Stage.Close);
        Assert.True(disconnected.IsDisconnected && !disconnected.IsRetired, disconnected.ToString());
        Assert.Equal(0, client.Receive(new byte[1]));

        Assert.Equal(0, harness.Channel.ReadStart(handle));
        client.Send("still open"u8);
        Assert.Equal("still open"u8.ToArray(), harness.ReadLeased(10));
        harness.Close(handle);
    }

    [Fact]
    public void Reset_ByThePeer_IsAReadError()
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Ipv4, out Socket client);
        Assert.Equal(0, harness.Channel.ReadStart(handle));

        client.LingerState = new LingerOption(true, 0);
        client.Close();
        ChannelEvent read = harness.Next(Stage.Read);

        Assert.Equal(ChannelError.ConnectionReset, read.Result);
        Assert.False(read.HasMore);
        harness.Close(handle);
    }

    [Fact]
    public void Write_AfterThePeersReset_FailsWithoutASignal()
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Unix, out Socket client);
        client.Close();
        byte[] pattern = SocketExtensions.Pattern(10);

        Assert.Equal(0, harness.Channel.Write(handle, PinnedMemory.AddressOf(pattern), pattern.Length));

        Assert.Equal(SocketError.Shutdown, ChannelError.ToSocketError(harness.Next(Stage.Write).Result));
        harness.Close(handle);
    }

    [Fact]
    public void Handle_Retired_IsInvalidForEver()
    {
        using ChannelHarness harness = new();
        harness.Listen(SocketKind.Ipv4, out Socket listener);
        long first = harness.Connection(listener, out _);
        harness.Close(first);
        long second = harness.Connection(listener, out _);

        Assert.NotEqual(first, second);
        Assert.Equal(ChannelError.BadHandle, harness.Channel.ReadStart(first));
        Assert.Equal(ChannelError.BadHandle, harness.Channel.Write(first, 1, 1));
        Assert.Equal(ChannelError.BadHandle, harness.Channel.Close(first));
        Assert.Equal(ChannelError.BadHandle, harness.Channel.SetCookie(first, 1));
        Assert.Null(harness.Channel.PeerEndPoint(first));
        Assert.Equal(ChannelError.BadHandle, harness.Channel.ToFd(first));
    }

    [Fact]
    public void Close_WithAReadAndAWritePending_BringsTheirEventsBeforeItsOwn()
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Ipv4, out Socket client);
        client.ReceiveBufferSize = 4096;
        byte[] much = SocketExtensions.Pattern(64 << 20);
        Assert.Equal(0, harness.Channel.ReadStart(handle));
        Assert.Equal(0, harness.Channel.Write(handle, PinnedMemory.AddressOf(much), much.Length));
        Assert.True(harness.Channel.Flush() >= 0);

        Assert.Equal(0, harness.Channel.Close(handle, abort: true));
        Assert.Equal(ChannelError.Already, harness.Channel.Close(handle));
        List<ChannelEvent> events = [];
        do
        {
            events.Add(harness.Next());
        }
        while (!events[^1].IsRetired);

        Assert.Single(events, next => next.Stage == Stage.Write && next.Result < 0);
        Assert.Single(events, next => next.Stage == Stage.Read && !next.HasMore && next.Result < 0);
        Assert.Equal(3, events.Count);
    }

    [Fact]
    public void Unregister_OfAListener_LeavesTheSocketToItsOwner()
    {
        using ChannelHarness harness = new();
        long handle = harness.Listen(SocketKind.Ipv4, out Socket listener);

        Assert.Equal(0, harness.Channel.Unregister(handle));
        Assert.True(harness.Await(Stage.Close).IsRetired);
        using Socket client = SocketKind.ConnectTo(listener);
        using Socket accepted = listener.Accept();

        Assert.True(accepted.Connected);
    }
}
