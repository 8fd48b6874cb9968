// Accepted connections that go to another channel: that they do, that they work there, and that it can be turned off.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Balancing;

[Trait("Transport", "MegaPipe"), Trait("Area", "Balancing")]
public sealed class StealingTests
{
    /// <summary>Connections of channel 0 among them: more than the rule lets it have when the other has none.</summary>
    private const int Most = 400;

    private const int Crowd = 20;

    [Theory]
    [InlineData(LightweightSockets.Always, false)]
    [InlineData(LightweightSockets.Never, false)]
    [InlineData(LightweightSockets.Never, true)]
    public async Task Accept_OneChannelIsCrowded_TheOtherHasTheNextAndItWorksThere(LightweightSockets sockets, bool any)
    {
        await using TransportHarness harness = Create(localPerStolen: 5, sockets);
        IConnectionListener listener =
            await harness.BindAsync(any ? new IPEndPoint(IPAddress.Any, 0) : new IPEndPoint(IPAddress.Loopback, 0));
        IPEndPoint target = new(IPAddress.Loopback, ((IPEndPoint)listener.EndPoint).Port);
        ConnectedPair? stolen = null;
        for (int i = 0; i < Most && stolen is null; i++)
        {
            long before = Counter(harness, 1, "steals_in");
            ConnectedPair pair = await harness.ConnectAsync(listener, target);
            if (Counter(harness, 1, "steals_in") > before)
            {
                stolen = pair;
            }
            else
            {
                await KeepOnlyOfChannel0(pair);
            }
        }

        Assert.NotNull(stolen);
        Assert.Equal(1, Channel(stolen));
        Assert.Equal(Counter(harness, 1, "steals_in"), Counter(harness, 0, "steals_out"));
        await Eventually.True(() => Counter(harness, 0, "transfers") == Counter(harness, 0, "steals_out"));
        Assert.Equal(stolen.Client.LocalEndPoint, stolen.Server.RemoteEndPoint);
        if (sockets == LightweightSockets.Never)
        {
            Assert.Equal(stolen.Client.RemoteEndPoint, stolen.Server.LocalEndPoint);
        }

        byte[] data = new byte[100_000];
        Random.Shared.NextBytes(data);
        Task writing = stolen.Server.Transport.Output.WriteAsync(data).InTime();
        Assert.Equal(data, await stolen.Client.ReceiveExactlyAsync(data.Length));
        await writing;
        await stolen.Client.SendAllAsync("and back");
        Assert.Equal("and back"u8.ToArray(), await stolen.Server.Transport.Input.ReadExactlyAsync(8));
        stolen.Client.Shutdown(SocketShutdown.Send);
        Assert.True((await stolen.Server.Transport.Input.ReadAsync().InTime()).IsCompleted);
    }

    [Fact]
    public async Task Accept_StealingIsOff_EachChannelKeepsWhatItAccepts()
    {
        await using TransportHarness harness = Create(localPerStolen: 0, LightweightSockets.Auto);
        IConnectionListener listener = await harness.BindAsync();
        int kept = 0;
        for (int i = 0; i < Most && kept < Crowd; i++)
        {
            kept += await KeepOnlyOfChannel0(await harness.ConnectAsync(listener)) ? 1 : 0;
        }

        Assert.Equal(Crowd, kept);
        Assert.Equal(0, Sum(harness, "steals_in") + Sum(harness, "steals_out") + Sum(harness, "transfers"));
    }

    /// <summary>
    /// The target has no room: the kernel says so, or the target does. Nobody stays in between, whichever it is.
    /// </summary>
    [Theory]
    [InlineData(LightweightSockets.Always)]
    [InlineData(LightweightSockets.Never)]
    public async Task Accept_ManyComeAtOnceAndThenTheListenerEnds_EachIsServedOrEnds(LightweightSockets sockets)
    {
        await using TransportHarness harness = Create(localPerStolen: 5, sockets, channels: 4);
        IConnectionListener listener = await harness.BindAsync();
        using SemaphoreSlim accepted = new(0);
        Task serving = ServeAsync();
        Socket[] clients = await Task.WhenAll(
            Enumerable.Range(0, 200).Select(_ => harness.ConnectClientAsync(listener.EndPoint)));
        foreach (Socket client in clients)
        {
            await client.SendAllAsync("x");
            Assert.Equal("y"u8.ToArray(), await client.ReceiveExactlyAsync(1));
        }

        await listener.UnbindAsync().InTime();
        await serving.InTime();
        Assert.Equal(Sum(harness, "steals_out"), Sum(harness, "steals_in"));

        async Task ServeAsync()
        {
            List<Task> all = [];
            while (await listener.AcceptAsync() is { } server)
            {
                all.Add(AnswerAsync(server));
            }

            await Task.WhenAll(all);
        }

        static async Task AnswerAsync(ConnectionContext server)
        {
            await server.Transport.Input.ReadExactlyAsync(1);
            await server.Transport.Output.WriteAsync("y"u8.ToArray());
            await server.DisposeAsync();
        }
    }

    private static TransportHarness Create(int localPerStolen, LightweightSockets sockets, int channels = 2) =>
        TransportHarness.Create(TransportKind.MegaPipe, settings => settings.MegaPipe = options =>
        {
            options.Channels = channels;
            options.Steering = MegaPipeSteering.Balanced;
            options.LocalPerStolen = localPerStolen;
            options.LightweightSockets = sockets;
        });

    private static int Channel(ConnectedPair pair) => ((MegaPipeConnection)pair.Server).Channel.Index;

    private static async Task<bool> KeepOnlyOfChannel0(ConnectedPair pair)
    {
        if (Channel(pair) == 0)
        {
            return true;
        }

        pair.Client.Dispose();
        await pair.Server.DisposeAsync().InTime();
        return false;
    }

    private static long Counter(TransportHarness harness, int channel, string name) =>
        harness.Status!.GetChannels()[channel].Counters[name];

    private static long Sum(TransportHarness harness, string name) =>
        harness.Status!.GetChannels().Sum(channel => channel.Counters[name]);
}
