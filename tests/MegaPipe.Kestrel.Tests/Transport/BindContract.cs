// Binding IP endpoints: addresses, ports, dual mode, address in use, and binding again.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class BindContract(TransportKind kind)
{
    public static TheoryData<string, string> BoundAndClientAddresses => new()
    {
        { "127.0.0.1", "127.0.0.1" },
        { "127.0.0.2", "127.0.0.2" },
        { "::1", "::1" },
        { "0.0.0.0", "127.0.0.1" },
        { "0.0.0.0", "127.0.0.3" },
        { "::", "::1" },
        { "::", "127.0.0.1" },
    };

    [Theory]
    [MemberData(nameof(BoundAndClientAddresses))]
    public async Task Bind_PortZero_ServesOnTheRealPort(string bound, string client)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new IPEndPoint(IPAddress.Parse(bound), 0));
        IPEndPoint endPoint = Assert.IsType<IPEndPoint>(listener.EndPoint);
        Assert.Equal(IPAddress.Parse(bound), endPoint.Address);
        Assert.NotEqual(0, endPoint.Port);

        ConnectedPair pair = await harness.ConnectAsync(
            listener, new IPEndPoint(IPAddress.Parse(client), endPoint.Port));
        await pair.Client.SendAllAsync("ping");
        Assert.Equal("ping"u8.ToArray(), await pair.Server.Transport.Input.ReadExactlyAsync(4));
    }

    [Fact]
    public async Task Bind_ExplicitPort_EndPointKeepsIt()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener first = await harness.BindAsync();
        int port = ((IPEndPoint)first.EndPoint).Port;
        await first.UnbindAsync().InTime();
        await first.DisposeAsync().InTime();
        IConnectionListener second = await harness.BindAsync(new IPEndPoint(IPAddress.Loopback, port));
        Assert.Equal(new IPEndPoint(IPAddress.Loopback, port), second.EndPoint);
    }

    [Fact]
    public async Task Bind_IPv6Only_DoesNotTakeIPv4()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new IPEndPoint(IPAddress.IPv6Loopback, 0));
        int port = ((IPEndPoint)listener.EndPoint).Port;
        SocketException e = await Assert.ThrowsAsync<SocketException>(
            () => harness.ConnectClientAsync(new IPEndPoint(IPAddress.Loopback, port)));
        Assert.Equal(SocketError.ConnectionRefused, e.SocketErrorCode);
    }

    [Fact]
    public async Task Bind_TwoEndPoints_EachServesItsOwn()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener one = await harness.BindAsync();
        IConnectionListener two = await harness.BindAsync();
        Assert.NotEqual(one.EndPoint, two.EndPoint);
        ConnectedPair onTwo = await harness.ConnectAsync(two);
        ConnectedPair onOne = await harness.ConnectAsync(one);
        Assert.Equal(one.EndPoint, onOne.Server.LocalEndPoint);
        Assert.Equal(two.EndPoint, onTwo.Server.LocalEndPoint);
    }

    [Fact]
    public async Task Bind_AddressInUseInSameFactory_AddressInUseException()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener first = await harness.BindAsync();
        await Assert.ThrowsAsync<AddressInUseException>(() => harness.BindAsync(first.EndPoint));
        await AssertStillServes(harness, first);
    }

    [Theory]
    [InlineData("127.0.0.1", "127.0.0.1")]
    [InlineData("0.0.0.0", "127.0.0.1")]
    [InlineData("127.0.0.1", "0.0.0.0")]
    [InlineData("::", "::")]
    [InlineData("::", "127.0.0.1")]
    public async Task Bind_AddressInUseByAnotherFactory_AddressInUseException(string first, string second)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new IPEndPoint(IPAddress.Parse(first), 0));
        int port = ((IPEndPoint)listener.EndPoint).Port;
        await using (TransportHarness other = TransportHarness.Create(kind))
        {
            AddressInUseException e = await Assert.ThrowsAsync<AddressInUseException>(
                () => other.BindAsync(new IPEndPoint(IPAddress.Parse(second), port)));
            Assert.NotNull(e.InnerException);
        }

        IPAddress reachable = first is "::" ? IPAddress.IPv6Loopback : IPAddress.Loopback;
        ConnectedPair pair = await harness.ConnectAsync(listener, new IPEndPoint(reachable, port));
        await pair.Client.SendAllAsync("x");
        Assert.Equal("x"u8.ToArray(), await pair.Server.Transport.Input.ReadExactlyAsync(1));
    }

    [Fact]
    public async Task Bind_AddressInUseByAPlainSocket_AddressInUseException()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        using Socket other = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        other.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        other.Listen();
        await Assert.ThrowsAsync<AddressInUseException>(() => harness.BindAsync(other.LocalEndPoint));
    }

    /// <summary>Listeners come and go at the same time, so that the last one often ends while another begins.</summary>
    [Fact]
    public async Task Bind_WhileOtherListenersEnd_EachServes()
    {
        const int Tasks = 4, Rounds = 150, RoundsPerClient = 10;
        await using TransportHarness harness = TransportHarness.Create(kind);
        await Task.WhenAll(Enumerable.Range(0, Tasks).Select(_ => Task.Run(async () =>
        {
            for (int round = 0; round < Rounds; round++)
            {
                IConnectionListener listener =
                    await harness.Factory.BindAsync(new IPEndPoint(IPAddress.Loopback, 0)).InTime();
                if (round % RoundsPerClient == 0)
                {
                    using Socket client = Client.Create(listener.EndPoint);
                    await client.ConnectAsync(listener.EndPoint).InTime();
                    ConnectionContext? server = await listener.AcceptAsync().InTime();
                    await server!.Transport.Output.WriteAsync("x"u8.ToArray()).InTime();
                    Assert.Equal("x"u8.ToArray(), await client.ReceiveExactlyAsync(1));
                    await server.DisposeAsync().InTime();
                }

                await listener.UnbindAsync().InTime();
                await listener.DisposeAsync().InTime();
            }
        }))).InTime(limit: TimeSpan.FromMinutes(2));
    }

    [Fact]
    public async Task BindAndUnbind_TokenCancelledBefore_DoTheirWork()
    {
        CancellationToken cancelled = new(canceled: true);
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener =
            await harness.Factory.BindAsync(new IPEndPoint(IPAddress.Loopback, 0), cancelled).InTime();
        await AssertStillServes(harness, listener);
        await listener.UnbindAsync(cancelled).InTime();
        await listener.UnbindAsync(cancelled).InTime();
        await Assert.ThrowsAsync<SocketException>(() => harness.ConnectClientAsync(listener.EndPoint));
        await listener.DisposeAsync().InTime();
    }

    [Fact]
    public async Task Bind_AddressOfAnotherMachine_SocketException()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        SocketException e = await Assert.ThrowsAsync<SocketException>(
            () => harness.BindAsync(new IPEndPoint(IPAddress.Parse("192.0.2.1"), 0)));
        Assert.Equal(SocketError.AddressNotAvailable, e.SocketErrorCode);
    }

    [Fact]
    public async Task Bind_AtOnceAfterStopWithUsedConnections_Succeeds()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        ConnectedPair pair = await harness.ConnectAsync(listener);
        // The server closes first, so that its side is the one left in TIME_WAIT.
        await pair.Server.Transport.Output.WriteAsync("bye"u8.ToArray()).InTime();
        await pair.Server.Transport.Output.CompleteAsync();
        Assert.Equal("bye"u8.ToArray(), await pair.Client.ReceiveToEndAsync());
        pair.Client.Close();
        EndPoint endPoint = listener.EndPoint;
        await harness.StopAsync();

        await AssertStillServes(harness, await harness.BindAsync(endPoint));
    }

    [Fact]
    public async Task Bind_Unbound_ClientsAreRefused()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        await listener.UnbindAsync().InTime();
        SocketException e = await Assert.ThrowsAsync<SocketException>(
            () => harness.ConnectClientAsync(listener.EndPoint));
        Assert.Equal(SocketError.ConnectionRefused, e.SocketErrorCode);
    }

    private static async Task AssertStillServes(TransportHarness harness, IConnectionListener listener)
    {
        ConnectedPair pair = await harness.ConnectAsync(listener);
        await pair.Client.SendAllAsync("x");
        Assert.Equal("x"u8.ToArray(), await pair.Server.Transport.Input.ReadExactlyAsync(1));
    }
}
