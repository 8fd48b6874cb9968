// A handler's thread is as good as one of the thread pool, whichever transport serves: its stack, what others left on
// it, and a process that may have no more threads. In processes of their own, which a failure may end.
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class CarrierThreadTests(ITestOutputHelper output)
{
    private static readonly TimeSpan s_prompt = TimeSpan.FromSeconds(10);

    [Theory]
    [InlineData(TransportKind.Sockets)]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeInline)]
    [InlineData(TransportKind.MegaPipeThreadPool)]
    public async Task Handler_RecursesTwentyThousandFrames_Answers(TransportKind kind)
    {
        await using ChildProcess server = await ThreadServer.StartAsync(kind, channels: 1);
        HttpPeer peer = await ConnectWarmAsync(server, kind);
        Assert.Equal("20000", await peer.GetAsync("/deep/20000"));
        Assert.Equal("20000", await peer.GetAsync("/deep/20000"));
    }

    [Fact]
    public async Task Handler_AsksForSufficientStack_FindsAsMuchAsOnStock()
    {
        await using ChildProcess stock = await ThreadServer.StartAsync(TransportKind.Sockets, channels: 1);
        await using ChildProcess ours = await ThreadServer.StartAsync(TransportKind.MegaPipe, channels: 1);
        int there = Number(await (await ConnectWarmAsync(stock, TransportKind.Sockets)).GetAsync("/sufficient"));
        int here = Number(await (await ConnectWarmAsync(ours, TransportKind.MegaPipe)).GetAsync("/sufficient"));
        output.WriteLine($"levels: {there} on stock, {here} on a carrier");
        Assert.InRange(here, there * 9 / 10, int.MaxValue);
    }

    [Theory]
    [InlineData(TransportKind.Sockets)]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeInline)]
    public async Task Handler_MakesItsThreadAForegroundOne_TheProcessStillEnds(TransportKind kind)
    {
        ChildProcess server = await ThreadServer.StartAsync(kind, channels: 1);
        await using (server)
        {
            HttpPeer peer = await ConnectWarmAsync(server, kind);
            await EventuallyAsync(async () => await peer.GetAsync("/spoil") == "carrier" || !kind.IsMegaPipe());
            await peer.GetAsync("/");
        } // waits for its end
    }

    [Theory]
    [InlineData(TransportKind.Sockets)]
    [InlineData(TransportKind.MegaPipe)]
    public async Task NoThreadToBeHad_HandlersBlock_ServerGoesOnAndSaysSoOnce(TransportKind kind)
    {
        await using ChildProcess server = await ThreadServer.StartAsync(kind, channels: 2);
        List<HttpPeer> peers = [];
        for (int i = 0; i < 12; i++)
        {
            peers.Add(await ConnectWarmAsync(server, kind));
        }

        Assert.Equal("refused", await peers[0].GetAsync("/refuse"));
        for (int round = 0; round < 3; round++)
        {
            await Task.WhenAll(peers.Select(async peer =>
                Assert.Equal("slept", await peer.GetAsync("/sleep/300")))).InTime(limit: s_prompt);
            Assert.Equal("other", (await (await ConnectAsync(server)).GetAsync("/")).Replace("carrier", "other"));
        }

        if (kind.IsMegaPipe())
        {
            string warnings = await peers[0].GetAsync("/warnings");
            output.WriteLine(warnings);
            Assert.Single(warnings.Split('\n'));
            Assert.Contains("ulimit -u 1", warnings, StringComparison.Ordinal);
        }

        // And back: as many carriers as handlers that block.
        Assert.Equal("lifted", await peers[0].GetAsync("/lift"));
        await EventuallyAsync(async () =>
        {
            HttpPeer[] fresh = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => ConnectWarmAsync(server, kind)));
            await Task.WhenAll(fresh.Select(peer => peer.GetAsync("/sleep/50")));
            return !kind.IsMegaPipe() || Number(await peers[0].GetAsync("/live")) >= 4;
        });
    }

    [Theory]
    [InlineData(MegaPipeFallback.Sockets, "sockets: No thread could be started for a channel (")]
    [InlineData(MegaPipeFallback.Fail,
        "PlatformNotSupportedException: MegaPipe cannot be used here: No thread could be started for a channel (")]
    public async Task NoThreadToBeHad_AtTheStart_FallsBackOrSaysWhy(MegaPipeFallback fallback, string expected)
    {
        await using ChildProcess server = await ThreadServer.StartWithoutThreadsAsync(fallback);
        output.WriteLine(server.Answer);
        Assert.StartsWith(expected, server.Answer, StringComparison.Ordinal);
        Assert.Contains("ulimit -u 1", server.Answer, StringComparison.Ordinal);
    }

    private static int Number(string text) => int.Parse(text, CultureInfo.InvariantCulture);

    private static async Task EventuallyAsync(Func<Task<bool>> condition)
    {
        long deadline = Environment.TickCount64 + (long)InTimeExtensions.Limit.TotalMilliseconds;
        while (!await condition())
        {
            Assert.True(Environment.TickCount64 < deadline, "Never became true");
        }
    }

    /// <summary>A connection whose handlers run where they do as a rule: on a carrier, where there are any.</summary>
    private static async Task<HttpPeer> ConnectWarmAsync(ChildProcess server, TransportKind kind)
    {
        HttpPeer peer = await ConnectAsync(server);
        bool carried = kind.IsMegaPipe() && kind != TransportKind.MegaPipeThreadPool;
        await EventuallyAsync(async () => await peer.GetAsync("/") == "carrier" || !carried);
        return peer;
    }

    private static async Task<HttpPeer> ConnectAsync(ChildProcess server)
    {
        IPEndPoint target = new(IPAddress.Loopback, Number(server.Answer));
        Socket socket = Client.Create(target);
        await socket.ConnectAsync(target).InTime();
        return new(socket);
    }
}
