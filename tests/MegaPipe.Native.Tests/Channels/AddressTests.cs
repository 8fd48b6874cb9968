// What the channel tells about a handle: addresses and file descriptors, cookies, listener partitions.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Native.Tests.Support;

namespace MegaPipe.Native.Tests.Channels;

public sealed class AddressTests
{
    [Theory]
    [InlineData("ipv4", false)]
    [InlineData("ipv4", true)]
    [InlineData("ipv6", false)]
    [InlineData("ipv6", true)]
    public void PeerEndPoint_OfAcceptedConnections_IsEachClientsOwn(string kind, bool lwSocket)
    {
        using ChannelHarness harness = new();
        AcceptFlags flags = AcceptFlags.Keep | (lwSocket ? AcceptFlags.LwSocket : AcceptFlags.None);
        harness.Listen(new SocketKind(kind), out Socket listener, flags);
        for (int i = 0; i < 10; i++)
        {
            long handle = harness.Connection(listener, out Socket client);

            Assert.Equal(client.LocalEndPoint, harness.Channel.PeerEndPoint(handle));
            EndPoint? local = harness.Channel.LocalEndPoint(handle, out int error);
            Assert.True(local is not null || error == ChannelError.NotSupported, ChannelError.Text(error));
            Assert.Equal(local is null ? null : listener.LocalEndPoint, local);
        }
    }

    [Fact]
    public void PeerEndPoint_OfAUnixClientWithoutName_IsNull()
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Unix, out _);

        Assert.True(harness.Channel.PeerEndPoint(handle) is null or UnixDomainSocketEndPoint);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ToFd_OfAConnection_IsASocketOfItsOwn(bool lwSocket)
    {
        using ChannelHarness harness = new();
        AcceptFlags flags = AcceptFlags.Keep | (lwSocket ? AcceptFlags.LwSocket : AcceptFlags.None);
        long handle = harness.Connection(SocketKind.Ipv4, out Socket client, flags);

        int fd = harness.Channel.ToFd(handle);
        if (lwSocket && !MegaPipeFeatures.Has(Feature.FdInstall))
        {
            Assert.Equal(ChannelError.NotSupported, fd);
            return;
        }

        Assert.True(fd >= 0, ChannelError.Text(fd));
        using Socket socket = new(new SafeSocketHandle(fd, ownsHandle: true));
        Assert.Equal(client.LocalEndPoint, socket.RemoteEndPoint);
        socket.Send("from the fd"u8);
        Assert.Equal("from the fd"u8.ToArray(), client.ReceiveExactly(11));
        harness.Close(handle);
    }

    [Fact]
    public void ToFd_WithoutFixedFdInstall_IsNotSupported()
    {
        using ChannelHarness harness = new(new ChannelConfig { Flags = ChannelConfigFlags.NoFdInstall });
        long handle = harness.Connection(SocketKind.Ipv4, out _, AcceptFlags.Keep | AcceptFlags.LwSocket);

        Assert.Equal(ChannelError.NotSupported, harness.Channel.ToFd(handle));
        Assert.Equal(ChannelError.NotSupported, harness.Channel.PeekFd(handle));
    }

    [Fact]
    public void PeekFd_OfARegularSocket_IsItsFd()
    {
        using ChannelHarness harness = new();
        long listener = harness.Listen(SocketKind.Ipv4, out Socket socket);

        Assert.Equal((int)socket.Handle, harness.Channel.PeekFd(listener));
    }

    [Fact]
    public void SetCookie_OfAConnection_ComesBackInItsEvents()
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Ipv4, out Socket client);

        Assert.Equal(0, harness.Channel.SetCookie(handle, 0x1234_5678_9abc_def0));
        Assert.Equal(0, harness.Channel.ReadStart(handle));
        client.Send("x"u8);
        ChannelEvent read = harness.Next(Stage.Read);

        Assert.Equal(0x1234_5678_9abc_def0ul, read.Cookie);
        harness.Channel.Release(read.Lease);
    }

    [Fact]
    public void Register_WithACpuMask_OpensAPartitionPerChannel()
    {
        using Socket bound = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        bound.SetRawSocketOption(Tmds.Linux.LibC.SOL_SOCKET, Tmds.Linux.LibC.SO_REUSEPORT, [1, 0, 0, 0]);
        bound.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        using ChannelHarness first = new(new ChannelConfig { Cpu = 0 });
        using ChannelHarness second = new(new ChannelConfig { Cpu = 1 }, outer: first);
        foreach (ChannelHarness harness in new[] { first, second })
        {
            long partition = harness.Track(
                harness.Channel.Register((int)bound.Handle, 1, cpuMask: 0b11, backlog: 77));
            Assert.Equal(77, Backlog(harness.Channel.PeekFd(partition)));
            Assert.Equal(0, harness.Channel.Accept(partition, 4, AcceptFlags.Keep));
            harness.Channel.Flush();
        }

        Assert.Equal(
            ChannelError.NotPermitted, second.Channel.Register((int)bound.Handle, 1, cpuMask: 0b01, backlog: 77));
        List<Socket> clients = [.. Enumerable.Range(0, 40).Select(_ => SocketKind.ConnectTo(bound))];
        SpinWait.SpinUntil(() =>
        {
            first.Poll(1_000_000);
            second.Poll(1_000_000);
            return first.Counters.Accepted + second.Counters.Accepted == 40;
        }, ChannelHarness.Patience);
        clients.ForEach(client => client.Dispose());

        Assert.Equal(40ul, first.Counters.Accepted + second.Counters.Accepted);
    }

    // struct tcp_info of a listening socket: tcpi_sacked, at 28, is how many connections it queues.
    private static int Backlog(int fd)
    {
        const int TcpInfo = 11;
        using Socket socket = new(new SafeSocketHandle(fd, ownsHandle: false));
        byte[] info = new byte[104];
        socket.GetRawSocketOption(Tmds.Linux.LibC.IPPROTO_TCP, TcpInfo, info);
        return BitConverter.ToInt32(info, 28);
    }
}
