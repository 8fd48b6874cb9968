// What a connection carries besides bytes: ids, endpoints, features, and which of its properties can be set.
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class ConnectionContract(TransportKind kind)
{
    private const int ConnectionIdLength = 13;

    [Fact]
    public async Task ConnectionId_TwoConnections_ThirteenCharactersEachAndDifferent()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        string one = (await harness.ConnectAsync(listener)).Server.ConnectionId;
        ConnectedPair second = await harness.ConnectAsync(listener);
        string two = second.Server.ConnectionId;
        Assert.Matches("^[0-9A-V]{13}$", one);
        Assert.Equal(ConnectionIdLength, two.Length);
        Assert.NotEqual(one, two);
        Assert.Equal(two, second.Server.ConnectionId);
        Assert.Equal(two, second.Server.Features.GetRequiredFeature<IConnectionIdFeature>().ConnectionId);
    }

    [Fact]
    public async Task ConnectionId_Set_IsTheNewOneEverywhere()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectionContext server = (await harness.ConnectAsync()).Server;
        server.ConnectionId = "mine";
        Assert.Equal("mine", server.ConnectionId);
        Assert.Equal("mine", server.Features.GetRequiredFeature<IConnectionIdFeature>().ConnectionId);
    }

    [Fact]
    public async Task Transport_Set_IsTheNewOneEverywhere()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectionContext server = (await harness.ConnectAsync()).Server;
        IConnectionTransportFeature feature = server.Features.GetRequiredFeature<IConnectionTransportFeature>();
        Assert.Same(server.Transport, feature.Transport);
        DuplexPipe replacement = new(new Pipe().Reader, new Pipe().Writer);
        server.Transport = replacement;
        Assert.Same(replacement, server.Transport);
        Assert.Same(replacement, feature.Transport);
    }

    [Fact]
    public async Task Items_NotSet_EmptyAndKept()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectionContext server = (await harness.ConnectAsync()).Server;
        Assert.Empty(server.Items);
        server.Items["key"] = "value";
        IConnectionItemsFeature feature = server.Features.GetRequiredFeature<IConnectionItemsFeature>();
        Assert.Equal("value", feature.Items["key"]);
        Dictionary<object, object?> replacement = new() { ["other"] = 1 };
        server.Items = replacement;
        Assert.Same(replacement, feature.Items);
    }

    [Fact]
    public async Task ConnectionClosed_Set_IsTheNewOneEverywhere()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectionContext server = (await harness.ConnectAsync()).Server;
        using CancellationTokenSource source = new();
        server.ConnectionClosed = source.Token;
        Assert.Equal(source.Token, server.ConnectionClosed);
        Assert.Equal(
            source.Token, server.Features.GetRequiredFeature<IConnectionLifetimeFeature>().ConnectionClosed);
    }

    [Fact]
    public async Task EndPoints_Tcp_AreTheSocketsOwn()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Assert.Equal(pair.Client.RemoteEndPoint, pair.Server.LocalEndPoint);
        Assert.Equal(pair.Client.LocalEndPoint, pair.Server.RemoteEndPoint);
        // Read again after the client has gone: they were taken at accept, not asked of the socket.
        pair.Client.Close();
        Assert.NotNull(pair.Server.RemoteEndPoint);
    }

    [Fact]
    public async Task EndPoints_Set_AreTheNewOnes()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectionContext server = (await harness.ConnectAsync()).Server;
        IPEndPoint local = new(IPAddress.Parse("192.0.2.1"), 1);
        IPEndPoint remote = new(IPAddress.Parse("192.0.2.2"), 2);
        server.LocalEndPoint = local;
        server.RemoteEndPoint = remote;
        Assert.Same(local, server.LocalEndPoint);
        Assert.Same(remote, server.RemoteEndPoint);
    }

    [Theory]
    [InlineData("0.0.0.0", "127.0.0.5", "127.0.0.5")]
    [InlineData("::", "::1", "::1")]
    [InlineData("::", "127.0.0.1", "::ffff:127.0.0.1")]
    public async Task LocalEndPoint_WildcardBind_IsTheAddressConnectedTo(string bound, string client, string expected)
    {
        if (kind == TransportKind.MegaPipeLwsocketAlways)
        {
            // Documented for LightweightSockets.Always: on a wildcard bind it is the listener's address.
            expected = bound;
        }

        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new IPEndPoint(IPAddress.Parse(bound), 0));
        int port = ((IPEndPoint)listener.EndPoint).Port;
        ConnectedPair pair = await harness.ConnectAsync(listener, new IPEndPoint(IPAddress.Parse(client), port));
        IPEndPoint local = Assert.IsType<IPEndPoint>(pair.Server.LocalEndPoint);
        Assert.Equal(IPAddress.Parse(expected), local.Address);
        Assert.Equal(port, local.Port);
        IPEndPoint remote = Assert.IsType<IPEndPoint>(pair.Server.RemoteEndPoint);
        Assert.Equal(((IPEndPoint)pair.Client.LocalEndPoint!).Port, remote.Port);
        Assert.Equal(
            ((IPEndPoint)pair.Client.LocalEndPoint!).Address.MapToIPv6(), remote.Address.MapToIPv6());
    }

    [Fact]
    public async Task Features_Fresh_HasAllThatStockHas()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectionContext server = (await harness.ConnectAsync()).Server;
        Type[] expected =
        [
            typeof(IConnectionIdFeature), typeof(IConnectionTransportFeature), typeof(IConnectionItemsFeature),
            typeof(IConnectionLifetimeFeature), typeof(IMemoryPoolFeature), typeof(IConnectionSocketFeature),
        ];
        foreach (Type type in expected)
        {
            Assert.True(type.IsInstanceOfType(server.Features[type]), type.Name);
        }

        HashSet<Type> listed = [.. server.Features.Select(feature => feature.Key)];
        Assert.All(expected, type => Assert.Contains(type, listed));
    }

    [Fact]
    public async Task Features_SetReplaceAndRemove_BehaveAsACollection()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectionContext server = (await harness.ConnectAsync()).Server;
        int revision = server.Features.Revision;
        server.Features.Set(this);
        Assert.Same(this, server.Features.Get<ConnectionContract>());
        Assert.NotEqual(revision, server.Features.Revision);
        Assert.Contains(server.Features, feature => ReferenceEquals(feature.Value, this));
        server.Features.Set<ConnectionContract>(null);
        Assert.Null(server.Features.Get<ConnectionContract>());
        server.Features.Set<IConnectionSocketFeature>(null);
        Assert.Null(server.Features.Get<IConnectionSocketFeature>());
        Assert.NotNull(server.Features.Get<IConnectionIdFeature>());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task SocketFeature_Used_IsTheRealSocket(bool noDelay)
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings => settings.NoDelay = noDelay);
        ConnectedPair pair = await harness.ConnectAsync();
        Socket socket = pair.Server.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket;
        Assert.Same(socket, pair.Server.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket);
        Assert.Equal(noDelay, socket.NoDelay);
        Assert.Equal(pair.Client.LocalEndPoint, socket.RemoteEndPoint);
        Assert.Equal(pair.Client.RemoteEndPoint, socket.LocalEndPoint);
        Assert.True(socket.Connected);

        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        Assert.Equal(1, socket.GetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive));
        await pair.Client.SendAllAsync("still");
        Assert.Equal("still"u8.ToArray(), await pair.Server.Transport.Input.ReadExactlyAsync(5));
        await pair.Server.Transport.Output.WriteAsync("works"u8.ToArray()).InTime();
        Assert.Equal("works"u8.ToArray(), await pair.Client.ReceiveExactlyAsync(5));
        // A second descriptor for the connection must not keep it open.
        await pair.Server.DisposeAsync().InTime();
        Assert.Empty(await pair.Client.ReceiveToEndAsync());
    }

    private sealed record DuplexPipe(PipeReader Input, PipeWriter Output) : IDuplexPipe;
}
