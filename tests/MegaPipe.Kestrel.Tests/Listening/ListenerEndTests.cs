// The last clients of a listener: those whose handshake has begun, those in the queue, and those who come too late.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Listening;

[Trait("Transport", "MegaPipe"), Trait("Area", "Accept")]
public sealed class ListenerEndTests
{
    private const int Channels = 2;
    private const int Clients = 8;
    private const int SolSocket = 1;
    private const int ReusePort = 15;
    private const int BindToDevice = 25;
    private const int ProtocolTcp = 6;
    private const int DeferAccept = 9;

    /// <summary>With TCP_DEFER_ACCEPT a handshake ends with the client's data: it can be held where it is.</summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public async Task Unbind_HandshakesHaveBegun_TheyEndAndAreServed(bool ipv6, bool boundToDevice)
    {
        LeakCheck leaks = LeakCheck.Start();
        using LogCapture logs = new();
        ILogger logger = logs.CreateLogger("MegaPipe.Kestrel");
        MegaPipeTransportOptions options = new() { Channels = Channels };
        SharedChannels channels = SharedChannels.Start(options, logger, null);
        Socket socket = Bound(ipv6);
        socket.SetRawSocketOption(SolSocket, ReusePort, BitConverter.GetBytes(1));
        socket.SetRawSocketOption(ProtocolTcp, DeferAccept, BitConverter.GetBytes(30));
        if (boundToDevice)
        {
            socket.SetRawSocketOption(SolSocket, BindToDevice, "lo\0"u8);
        }

        socket.Listen();
        EndpointContext endpoint = new(socket.LocalEndPoint!, options, logger, channels.Pool);
        MegaPipeConnectionListener listener = await MegaPipeConnectionListener.BindAsync(
            new ListenSocket(socket, SocketOwner.Transport), endpoint, options, channels.Set, () => { }).InTime();
        IPEndPoint address = (IPEndPoint)listener.EndPoint;
        List<Socket> clients = [];
        for (int i = 0; i < Clients; i++)
        {
            Socket client = Client.Create(address);
            clients.Add(client);
            await client.ConnectAsync(address).InTime();
        }

        Assert.Equal(Clients, SocketDiagnostics.CountHandshakes(address));
        Task unbind = listener.UnbindAsync().AsTask();
        clients.ForEach(client => client.Send("x"u8));
        for (int i = 0; i < Clients; i++)
        {
            ConnectionContext? server = await listener.AcceptAsync().InTime();
            Assert.NotNull(server);
            Assert.Equal("x"u8.ToArray(), await server.Transport.Input.ReadExactlyAsync(1));
            await server.Transport.Output.WriteAsync("y"u8.ToArray()).InTime();
            await server.DisposeAsync().InTime();
        }

        await unbind.InTime();
        Assert.Null(await listener.AcceptAsync().InTime());
        foreach (Socket client in clients)
        {
            Assert.Equal("y"u8.ToArray(), await client.ReceiveExactlyAsync(1));
            client.Dispose();
        }

        await listener.DisposeAsync().InTime();
        channels.Stop();
        await leaks.AssertNothingLeft(TransportKind.MegaPipe, null);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Shut_TcpListener_NewcomersAreRefusedAndTheQueueStays(bool ipv6)
    {
        using Socket listener = Bound(ipv6);
        listener.Listen();
        await AssertShutsAsync(listener);
    }

    [Fact]
    public async Task Shut_UnixListener_NewcomersAreRefusedAndTheQueueStays()
    {
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint($"\0mp-shut-{Guid.NewGuid():N}"));
        listener.Listen();
        await AssertShutsAsync(listener);
    }

    /// <summary>An application that does not answer, and a client that does not ask, hold nobody for ever.</summary>
    [Fact]
    public async Task Unbind_ClientNeverAsks_EndsAllTheSame()
    {
        await using TransportHarness harness = TransportHarness.Create(TransportKind.MegaPipe);
        ConnectedPair pair = await harness.ConnectAsync(await harness.BindAsync());
        await harness.StopAsync();
        pair.Client.Dispose();
    }

    private static async Task AssertShutsAsync(Socket listener)
    {
        EndPoint address = listener.LocalEndPoint!;
        using Socket early = Client.Create(address);
        await early.ConnectAsync(address).InTime();
        Assert.True(NewcomerRefusal.TryShut(listener, address, shared: false));
        using Socket late = Client.Create(address);
        SocketException refused =
            await Assert.ThrowsAsync<SocketException>(() => late.ConnectAsync(address).InTime());
        Assert.Equal(SocketError.ConnectionRefused, refused.SocketErrorCode);
        using Socket accepted = await listener.AcceptAsync().InTime();
        await early.SendAllAsync("x");
        Assert.Equal("x"u8.ToArray(), await accepted.ReceiveExactlyAsync(1));
    }

    private static Socket Bound(bool ipv6)
    {
        Socket socket = new(
            ipv6 ? AddressFamily.InterNetworkV6 : AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(ipv6 ? IPAddress.IPv6Loopback : IPAddress.Loopback, 0));
        return socket;
    }
}
