// Listening sockets that somebody else made: inherited handles and CreateBoundListenSocket.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class HandleContract(TransportKind kind)
{
    [Theory]
    [InlineData(FileHandleType.Auto, true)]
    [InlineData(FileHandleType.Auto, false)]
    [InlineData(FileHandleType.Tcp, true)]
    [InlineData(FileHandleType.Tcp, false)]
    public async Task Bind_TcpHandle_ServesAndHandleStaysOpen(FileHandleType type, bool listening)
    {
        using Socket owner = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        owner.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        if (listening)
        {
            owner.Listen();
        }

        await using (TransportHarness harness = TransportHarness.Create(kind))
        {
            IConnectionListener listener =
                await harness.BindAsync(new FileHandleEndPoint((ulong)owner.Handle, type));
            Assert.Equal(owner.LocalEndPoint, listener.EndPoint);
            ConnectedPair pair = await harness.ConnectAsync(listener, owner.LocalEndPoint);
            await AssertEchoes(pair);
            Assert.Equal(owner.LocalEndPoint, pair.Server.LocalEndPoint);
            Assert.Equal(pair.Client.LocalEndPoint, pair.Server.RemoteEndPoint);
        }

        await AssertStillListens(owner);
    }

    [Fact]
    public async Task Bind_UnixHandle_ServesAndFileAndHandleStay()
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("mp-handle-");
        try
        {
            string path = Path.Combine(directory.FullName, "s.sock");
            using Socket owner = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
            owner.Bind(new UnixDomainSocketEndPoint(path));
            await using (TransportHarness harness = TransportHarness.Create(kind))
            {
                IConnectionListener listener = await harness.BindAsync(
                    new FileHandleEndPoint((ulong)owner.Handle, FileHandleType.Auto));
                await AssertEchoes(await harness.ConnectAsync(listener, new UnixDomainSocketEndPoint(path)));
            }

            Assert.True(File.Exists(path));
            await AssertStillListens(owner);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Unbind_Handle_PendingAcceptEndsAndHandleStaysOpen()
    {
        using Socket owner = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        owner.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener =
            await harness.BindAsync(new FileHandleEndPoint((ulong)owner.Handle, FileHandleType.Auto));
        Task<ConnectionContext?> accept = listener.AcceptAsync().AsTask();
        await listener.UnbindAsync().InTime();
        Assert.Null(await accept.InTime());
        await AssertStillListens(owner);
    }

    [Fact]
    public async Task CreateBoundListenSocket_NewEndPoint_IsCalledAndItsSocketServes()
    {
        List<EndPoint> asked = [];
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.CreateBoundListenSocket = endPoint =>
            {
                asked.Add(endPoint);
                Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                // An address other than the one asked for shows whose socket serves.
                socket.Bind(new IPEndPoint(IPAddress.Parse("127.0.0.7"), 0));
                return socket;
            });
        IPEndPoint wanted = new(IPAddress.Loopback, 0);
        IConnectionListener listener = await harness.BindAsync(wanted);
        Assert.All(asked, endPoint => Assert.Equal(wanted, endPoint));
        Assert.NotEmpty(asked);
        Assert.Equal(IPAddress.Parse("127.0.0.7"), Assert.IsType<IPEndPoint>(listener.EndPoint).Address);
        await AssertEchoes(await harness.ConnectAsync(listener));
    }

    [Fact]
    public async Task CreateBoundListenSocket_HandleEndPoint_IsCalledAndItsSocketServes()
    {
        using Socket owner = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        owner.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        FileHandleEndPoint wanted = new((ulong)owner.Handle, FileHandleType.Auto);
        int calls = 0;
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.CreateBoundListenSocket = endPoint =>
            {
                Assert.Same(wanted, endPoint);
                calls++;
                return SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);
            });
        IConnectionListener listener = await harness.BindAsync(wanted);
        Assert.Equal(1, calls);
        await AssertEchoes(await harness.ConnectAsync(listener, owner.LocalEndPoint));
    }

    [Fact]
    public async Task CreateBoundListenSocket_UnixEndPoint_IsCalledAndFileIsRemovedOnStop()
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("mp-create-");
        try
        {
            string path = Path.Combine(directory.FullName, "s.sock");
            int calls = 0;
            await using TransportHarness harness = TransportHarness.Create(kind, settings =>
                settings.CreateBoundListenSocket = endPoint =>
                {
                    calls++;
                    return SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);
                });
            IConnectionListener listener = await harness.BindAsync(new UnixDomainSocketEndPoint(path));
            Assert.Equal(1, calls);
            await AssertEchoes(await harness.ConnectAsync(listener));
            await harness.StopAsync();
            Assert.False(File.Exists(path));
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task CreateBoundListenSocket_Throws_BindThrowsTheSame()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.CreateBoundListenSocket = _ => throw new NotSupportedException("no socket today"));
        NotSupportedException e = await Assert.ThrowsAsync<NotSupportedException>(() => harness.BindAsync());
        Assert.Equal("no socket today", e.Message);
    }

    [Fact]
    public async Task CreateBoundListenSocket_AddressInUse_AddressInUseException()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.CreateBoundListenSocket = _ => throw new SocketException((int)SocketError.AddressAlreadyInUse));
        await Assert.ThrowsAsync<AddressInUseException>(() => harness.BindAsync());
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public async Task Bind_TcpHandle_OneListenerAndNoOptionOfItChanges(bool noDelay, bool blocking)
    {
        using Socket owner = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        owner.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        owner.Listen();
        owner.Blocking = blocking;
        Dictionary<string, string> before = SocketOptions.ReadAll(owner);
        await using (TransportHarness harness = TransportHarness.Create(kind, settings => settings.NoDelay = noDelay))
        {
            IConnectionListener listener =
                await harness.BindAsync(new FileHandleEndPoint((ulong)owner.Handle, FileHandleType.Auto));
            Assert.Equal(before, SocketOptions.ReadAll(owner));
            Assert.Equal(1, SocketOptions.CountListeners((IPEndPoint)owner.LocalEndPoint!));
            ConnectedPair pair = await harness.ConnectAsync(listener, owner.LocalEndPoint);
            await AssertEchoes(pair);
        }

        Assert.Equal(before, SocketOptions.ReadAll(owner));
        await AssertStillListens(owner);
    }

    [Fact]
    public async Task CreateBoundListenSocket_ItsSocket_OneListenerAndNoOptionOfItChanges()
    {
        Socket? made = null;
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.CreateBoundListenSocket = _ =>
            {
                made = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                made.Bind(new IPEndPoint(IPAddress.Loopback, 0));
                made.Listen(); // some options have other values on a listener
                return made;
            });
        Dictionary<string, string> fresh;
        using (Socket like = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
        {
            like.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            like.Listen();
            fresh = SocketOptions.ReadAll(like);
        }

        IConnectionListener listener = await harness.BindAsync();
        Assert.Equal(fresh, SocketOptions.ReadAll(made!));
        Assert.Equal(1, SocketOptions.CountListeners((IPEndPoint)listener.EndPoint));
        await AssertEchoes(await harness.ConnectAsync(listener));
    }

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public async Task Bind_TcpHandle_ConnectionsHaveNoDelayAsConfigured(bool noDelay, bool onListener)
    {
        using Socket owner = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        owner.NoDelay = onListener;
        owner.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        await using TransportHarness harness =
            TransportHarness.Create(kind, settings => settings.NoDelay = noDelay);
        IConnectionListener listener =
            await harness.BindAsync(new FileHandleEndPoint((ulong)owner.Handle, FileHandleType.Auto));
        ConnectedPair pair = await harness.ConnectAsync(listener, owner.LocalEndPoint);
        Assert.Equal(noDelay, pair.Server.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket.NoDelay);
        Assert.Equal(onListener, owner.NoDelay);
        await AssertEchoes(pair);
    }

    private static async Task AssertStillListens(Socket owner)
    {
        owner.Listen();
        using Socket client = Client.Create(owner.LocalEndPoint!);
        await client.ConnectAsync(owner.LocalEndPoint!).InTime();
        using Socket accepted = await owner.AcceptAsync().InTime();
        await client.SendAllAsync("x");
        Assert.Equal("x"u8.ToArray(), await accepted.ReceiveExactlyAsync(1));
    }

    private static async Task AssertEchoes(ConnectedPair pair)
    {
        await pair.Client.SendAllAsync("ping");
        Assert.Equal("ping"u8.ToArray(), await pair.Server.Transport.Input.ReadExactlyAsync(4));
        await pair.Server.Transport.Output.WriteAsync("pong"u8.ToArray()).InTime();
        Assert.Equal("pong"u8.ToArray(), await pair.Client.ReceiveExactlyAsync(4));
    }
}
