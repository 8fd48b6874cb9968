// Listener partitions: one per channel where the endpoint's first socket can be repeated, one queue for all where not.
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Transport;

[Trait("Transport", "MegaPipe"), Trait("Area", "Partition")]
public sealed class PartitionTests
{
    private const int Channels = 3;
    private const int SolSocket = 1;
    private const int ReusePort = 15;
    private const int AttachFilter = 26;
    private const int OneQueue = 106;

    [Theory]
    [InlineData(false, Channels)]
    [InlineData(true, 1)]
    public async Task Bind_FirstSocket_IsRepeatedPerChannelOrNotAtAll(bool withFilter, int listeners)
    {
        LeakCheck leaks = LeakCheck.Start();
        using LogCapture logs = new();
        ILogger logger = logs.CreateLogger("MegaPipe.Kestrel");
        MegaPipeTransportOptions options = new() { Channels = Channels };
        SharedChannels channels = SharedChannels.Start(options, logger, null);
        Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        socket.SetRawSocketOption(SolSocket, ReusePort, BitConverter.GetBytes(1));
        if (withFilter)
        {
            AcceptEverything(socket);
        }

        socket.Listen();
        EndpointContext endpoint = new(socket.LocalEndPoint!, options, logger, channels.Pool);
        bool ended = false;
        MegaPipeConnectionListener listener = await MegaPipeConnectionListener.BindAsync(
            new ListenSocket(socket, SocketOwner.Transport), endpoint, options, channels.Set,
            () => ended = true).InTime();
        Assert.Equal(listeners, SocketOptions.CountListeners((IPEndPoint)listener.EndPoint));
        Assert.Equal(listeners == 1 ? 1 : 0, logs.Count(OneQueue));
        for (int i = 0; i < 2 * Channels; i++)
        {
            using Socket client = Client.Create(listener.EndPoint);
            await client.ConnectAsync(listener.EndPoint).InTime();
            ConnectionContext? server = await listener.AcceptAsync().InTime();
            await server!.Transport.Output.WriteAsync("x"u8.ToArray()).InTime();
            Assert.Equal("x"u8.ToArray(), await client.ReceiveExactlyAsync(1));
            await server.DisposeAsync().InTime();
        }

        await listener.DisposeAsync().InTime();
        Assert.True(ended);
        channels.Stop();
        await leaks.AssertNothingLeft(TransportKind.MegaPipe, null);
    }

    [Fact]
    public async Task Bind_OneChannel_AddressIsNotShared()
    {
        await using TransportHarness harness = TransportHarness.Create(
            TransportKind.MegaPipe, settings => settings.MegaPipe = options => options.Channels = 1);
        IConnectionListener listener = await harness.BindAsync();
        using Socket stranger = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        stranger.SetRawSocketOption(SolSocket, ReusePort, BitConverter.GetBytes(1));
        SocketException error = Assert.Throws<SocketException>(() => stranger.Bind(listener.EndPoint));
        Assert.Equal(SocketError.AddressAlreadyInUse, error.SocketErrorCode);
    }

    /// <summary>A packet filter of one instruction: struct sock_fprog with a pointer to struct sock_filter.</summary>
    private static void AcceptEverything(Socket socket)
    {
        byte[] program = [0x06, 0, 0, 0, 0xff, 0xff, 0xff, 0xff];
        GCHandle pinned = GCHandle.Alloc(program, GCHandleType.Pinned);
        try
        {
            byte[] filter = new byte[16];
            filter[0] = 1;
            BitConverter.GetBytes(pinned.AddrOfPinnedObject()).CopyTo(filter, 8);
            socket.SetRawSocketOption(SolSocket, AttachFilter, filter);
        }
        finally
        {
            pinned.Free();
        }
    }
}
