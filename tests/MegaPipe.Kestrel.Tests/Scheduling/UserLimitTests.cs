// ulimit -u: a limit that leaves some threads and not as many as there are handlers that block.
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class UserLimitTests
{
    private const int Handlers = 100;

    /// <summary>
    /// The runtime ends a process ("Out of memory.") whose pool is refused a thread. Stock's does not come near.
    /// </summary>
    [RootTheory]
    [InlineData(TransportKind.Sockets)]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeThreadPool)]
    public async Task UserHasFewThreadsLeft_HandlersBlock_AllAreAnswered(TransportKind kind)
    {
        await using ChildProcess server = await ThreadServer.StartAsync(kind, channels: 2);
        IPEndPoint target = new(IPAddress.Loopback, int.Parse(server.Answer, CultureInfo.InvariantCulture));
        List<HttpPeer> peers = [];
        for (int i = 0; i < Handlers; i++)
        {
            Socket socket = Client.Create(target);
            await socket.ConnectAsync(target).InTime();
            peers.Add(new(socket));
        }

        Assert.Equal("left", await peers[0].GetAsync("/leave/30"));
        try
        {
            await Task.WhenAll(peers.Select(async peer => Assert.Equal("slept", await peer.GetAsync("/sleep/200"))))
                .InTime();
        }
        catch (Exception end)
        {
            Assert.Fail($"{end.Message}; the server said: {await server.EndAsync()}");
        }
    }
}
