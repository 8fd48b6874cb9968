// Connections over sockets that somebody else has connected: SocketConnectionContextFactory and its counterpart.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class GivenSocketContract(TransportKind kind) : IAsyncLifetime
{
    private readonly LogCapture _logs = new();
    private readonly TrackingMemoryPoolFactory _memory = new();
    private readonly List<IDisposable> _sockets = [];
    private LeakCheck? _leaks;
    private IDisposable? _factory;
    private Func<Socket, ConnectionContext>? _create;

    public Task InitializeAsync()
    {
        _leaks = LeakCheck.Start();
        ILogger logger = _logs.CreateLogger("MegaPipe.Kestrel");
        if (kind == TransportKind.Sockets)
        {
            SocketConnectionContextFactory stock = new(new SocketConnectionFactoryOptions(), logger);
            (_factory, _create) = (stock, stock.Create);
        }
        else
        {
            MegaPipeTransportOptions options = new();
            TransportKinds.Configure(options, kind, new TransportSettings());
            MegaPipeConnectionContextFactory ours = new(options, logger, _memory);
            Assert.Equal(kind == TransportKind.MegaPipeFallback, ours.FallbackReason is not null);
            (_factory, _create) = (ours, ours.Create);
        }

        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        _factory!.Dispose();
        _sockets.ForEach(socket => socket.Dispose());
        await _leaks!.AssertNothingLeft(kind, null);
        await Eventually.True(() => _memory.BlocksOut == 0, () => $"{_memory.BlocksOut} blocks out");
    }

    [Theory]
    [InlineData(AddressFamily.InterNetwork)]
    [InlineData(AddressFamily.InterNetworkV6)]
    [InlineData(AddressFamily.Unix)]
    public async Task Create_ConnectedSocket_BytesGoBothWaysAndFinFollowsThem(AddressFamily family)
    {
        (Socket given, Socket peer) = await PairAsync(family);
        (EndPoint? local, EndPoint? remote) = (given.LocalEndPoint, given.RemoteEndPoint);
        ConnectionContext connection = _create!(given);
        byte[] bytes = Client.Pattern(300_000);
        Task send = peer.SendAllAsync(bytes);
        Assert.Equal(bytes, await connection.Transport.Input.ReadExactlyAsync(bytes.Length));
        await send;
        Assert.Equal(local, connection.LocalEndPoint);
        Assert.Equal(remote, connection.RemoteEndPoint);
        Assert.Same(given, connection.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket);
        Task<byte[]> received = peer.ReceiveToEndAsync();
        await connection.Transport.Output.WriteAsync(bytes).InTime();
        await connection.Transport.Output.CompleteAsync();
        Assert.Equal(bytes, await received);
        await connection.DisposeAsync().InTime();
    }

    [Fact]
    public async Task Create_SocketUsedBefore_GoesOnWhereItWas()
    {
        (Socket given, Socket peer) = await PairAsync(AddressFamily.InterNetwork);
        // Asynchronous use makes the descriptor non-blocking and known to the runtime's own epoll.
        await peer.SendAllAsync("before after");
        Assert.Equal("before "u8.ToArray(), await given.ReceiveExactlyAsync(7));
        ConnectionContext connection = _create!(given);
        Assert.Equal("after"u8.ToArray(), await connection.Transport.Input.ReadExactlyAsync(5));
        await connection.DisposeAsync().InTime();
        Assert.Empty(await peer.ReceiveToEndAsync());
    }

    [Fact]
    public async Task Create_PeerSendsFin_ReadEndsAndSendingGoesOn()
    {
        (Socket given, Socket peer) = await PairAsync(AddressFamily.InterNetwork);
        ConnectionContext connection = _create!(given);
        peer.Shutdown(SocketShutdown.Send);
        Assert.True((await connection.Transport.Input.ReadAsync().InTime()).IsCompleted);
        await connection.Transport.Output.WriteAsync("still"u8.ToArray()).InTime();
        Assert.Equal("still"u8.ToArray(), await peer.ReceiveExactlyAsync(5));
        await connection.DisposeAsync().InTime();
        Assert.Empty(await peer.ReceiveToEndAsync());
    }

    [Fact]
    public async Task Abort_GivenSocket_PeerSeesReset()
    {
        (Socket given, Socket peer) = await PairAsync(AddressFamily.InterNetwork);
        ConnectionContext connection = _create!(given);
        connection.Abort(new ConnectionAbortedException("because"));
        SocketException error = await Assert.ThrowsAsync<SocketException>(() => peer.ReceiveToEndAsync());
        Assert.Equal(SocketError.ConnectionReset, error.SocketErrorCode);
        await connection.DisposeAsync().InTime();
    }

    [Fact]
    public async Task Create_ClosedSocket_ReadFailsAndDisposeEnds()
    {
        (Socket given, Socket _) = await PairAsync(AddressFamily.InterNetwork);
        given.Dispose();
        // Stock reads the addresses late, this transport at once: either way nothing may hang.
        Exception? error = await Record.ExceptionAsync(async () =>
        {
            ConnectionContext connection = _create!(given);
            try
            {
                await connection.Transport.Input.ReadAsync().InTime();
            }
            finally
            {
                await connection.DisposeAsync().InTime();
            }
        });
        Assert.True(error is null or not Xunit.Sdk.XunitException, $"{error}");
    }

    [Fact]
    public async Task Dispose_ConnectionsLive_TheyGoOnToTheirEnd()
    {
        List<(ConnectionContext Connection, Socket Peer)> pairs = [];
        for (int i = 0; i < 20; i++)
        {
            (Socket given, Socket peer) = await PairAsync(AddressFamily.InterNetwork);
            pairs.Add((_create!(given), peer));
        }

        if (kind.IsMegaPipe())
        {
            // Stock's pools are gone with the factory.
            _factory!.Dispose();
        }

        foreach ((ConnectionContext connection, Socket peer) in pairs)
        {
            await peer.SendAllAsync("ping");
            Assert.Equal("ping"u8.ToArray(), await connection.Transport.Input.ReadExactlyAsync(4));
            await connection.Transport.Output.WriteAsync("pong"u8.ToArray()).InTime();
            Assert.Equal("pong"u8.ToArray(), await peer.ReceiveExactlyAsync(4));
            await connection.DisposeAsync().InTime();
            Assert.Empty(await peer.ReceiveToEndAsync());
        }
    }

    [Fact]
    public async Task Create_Disposed_Throws()
    {
        if (kind == TransportKind.Sockets)
        {
            return; // makes one that fails later
        }

        (Socket given, Socket _) = await PairAsync(AddressFamily.InterNetwork);
        _factory!.Dispose();
        Assert.Throws<ObjectDisposedException>(() => _create!(given));
    }

    [Fact]
    public void Factory_WrongOption_SaysWhich()
    {
        OptionsValidationException error = Assert.Throws<OptionsValidationException>(
            () => new MegaPipeConnectionContextFactory(
                new MegaPipeTransportOptions { Channels = 0 }, _logs.CreateLogger("x")));
        Assert.Contains("MegaPipe:Channels is 0", error.Message, StringComparison.Ordinal);
    }

    private async Task<(Socket Given, Socket Peer)> PairAsync(AddressFamily family)
    {
        ProtocolType protocol = family == AddressFamily.Unix ? ProtocolType.Unspecified : ProtocolType.Tcp;
        using Socket listener = new(family, SocketType.Stream, protocol);
        listener.Bind(family switch
        {
            AddressFamily.InterNetwork => new IPEndPoint(IPAddress.Loopback, 0),
            AddressFamily.InterNetworkV6 => new IPEndPoint(IPAddress.IPv6Loopback, 0),
            _ => new UnixDomainSocketEndPoint($"\0mp-given-{Guid.NewGuid():N}"),
        });
        listener.Listen();
        Socket given = new(family, SocketType.Stream, protocol);
        _sockets.Add(given);
        Task connect = given.ConnectAsync(listener.LocalEndPoint!);
        Socket peer = await listener.AcceptAsync().InTime();
        _sockets.Add(peer);
        await connect.InTime();
        return (given, peer);
    }
}
