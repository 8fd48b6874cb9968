// The bound on carriers, in a process of its own: said once, survived, and no dead end.
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class BoundedCarriersTests
{
    private const int Handlers = 8;

    [Theory]
    [InlineData(2, 1)]
    [InlineData(3, 2)]
    public async Task MaxCarriersStuck_WarnsOnceAndWorksWhenTheyReturn(int maxCarriers, int channels)
    {
        await using ChildProcess server = await BoundedServer.StartAsync(maxCarriers, channels);
        HttpPeer[] blocked = await ConnectOnCarriersAsync(server);
        foreach (HttpPeer peer in blocked)
        {
            await peer.SendAsync(HttpPeer.Get("/block"));
        }

        await server.TellAsync(BoundedServer.Release);
        foreach (HttpPeer peer in blocked)
        {
            Assert.Equal((200, "[blocked]"), await ReceiveAsync(peer));
        }

        for (int i = 0; i < 20; i++)
        {
            HttpPeer other = await ConnectAsync(server);
            Assert.Equal("[plain]", await GetAsync(other, "/"));
            Assert.Equal("[plain]", await GetAsync(other, "/"));
        }

        await AssertSaidOnceAsync(server, channels);
    }

    [Theory]
    [InlineData(2, 1)]
    [InlineData(3, 2)]
    public async Task MaxCarriersReached_HandlersBlock_OthersAreStillAnsweredAndItIsSaidOnce(
        int maxCarriers, int channels)
    {
        await using ChildProcess server = await BoundedServer.StartAsync(maxCarriers, channels);
        HttpPeer[] blocked = await ConnectOnCarriersAsync(server);
        foreach (HttpPeer peer in blocked)
        {
            await peer.SendAsync(HttpPeer.Get("/block"));
        }

        try
        {
            for (int i = 0; i < 10; i++)
            {
                Assert.Equal("[plain]", await GetAsync(await ConnectAsync(server), "/"));
            }

            await AssertSaidOnceAsync(server, channels);
            Assert.Equal($"[{Handlers}]", await GetAsync(await ConnectAsync(server), "/blocked"));
        }
        finally
        {
            await server.TellAsync(BoundedServer.Release);
        }

        foreach (HttpPeer peer in blocked)
        {
            Assert.Equal((200, "[blocked]"), await ReceiveAsync(peer));
        }
    }

    [Fact]
    public async Task MaxCarriersReached_AgainAndAgainWhileOneStaysStuck_IsSaidOnce()
    {
        await using ChildProcess server = await BoundedServer.StartAsync(maxCarriers: 2, channels: 1);
        HttpPeer[] peers = await ConnectOnCarriersAsync(server);
        await peers[0].SendAsync(HttpPeer.Get("/block"));
        for (int round = 0; round < 3; round++)
        {
            foreach (HttpPeer peer in peers[1..])
            {
                Assert.Equal("[slept]", await GetAsync(peer, "/sleep"));
            }
        }

        await AssertSaidOnceAsync(server, channels: 1);
        await server.TellAsync(BoundedServer.Release);
        Assert.Equal((200, "[blocked]"), await ReceiveAsync(peers[0]));
    }

    [Theory]
    [InlineData(2, 1)]
    [InlineData(3, 2)]
    public async Task MaxCarriersReached_HandlersCallTheSameServer_NoDeadlock(int maxCarriers, int channels)
    {
        await using ChildProcess server = await BoundedServer.StartAsync(maxCarriers, channels);
        HttpPeer[] peers = await ConnectOnCarriersAsync(server);
        await Task.WhenAll(peers.Select(peer => peer.SendAsync(HttpPeer.Get("/self"))));
        foreach (HttpPeer peer in peers)
        {
            Assert.Equal((200, "[self [plain]]"), await ReceiveAsync(peer));
        }
    }

    /// <summary>Connections past their first request, which may run on the pool thread that started them.</summary>
    private static async Task<HttpPeer[]> ConnectOnCarriersAsync(ChildProcess server)
    {
        HttpPeer[] peers = await Task.WhenAll(Enumerable.Range(0, Handlers).Select(_ => ConnectAsync(server)));
        foreach (HttpPeer peer in peers)
        {
            Assert.Equal("[plain]", await GetAsync(peer, "/"));
            Assert.Equal("[plain]", await GetAsync(peer, "/"));
        }

        return peers;
    }

    /// <summary>Once for each channel that reached the bound.</summary>
    private static async Task AssertSaidOnceAsync(ChildProcess server, int channels)
    {
        string warnings = await GetAsync(await ConnectAsync(server), "/warnings");
        Assert.InRange(int.Parse(warnings.Trim('[', ']'), CultureInfo.InvariantCulture), 1, channels);
    }

    private static async Task<HttpPeer> ConnectAsync(ChildProcess server)
    {
        IPEndPoint target = new(IPAddress.Loopback, int.Parse(server.Answer, CultureInfo.InvariantCulture));
        Socket socket = Client.Create(target);
        await socket.ConnectAsync(target).InTime();
        return new(socket);
    }

    private static async Task<string> GetAsync(HttpPeer peer, string path)
    {
        await peer.SendAsync(HttpPeer.Get(path));
        return (await ReceiveAsync(peer)).Body;
    }

    private static Task<(int Status, string Body)> ReceiveAsync(HttpPeer peer) =>
        peer.ReceiveAsync().InTime("an answer", TimeSpan.FromSeconds(8));
}
