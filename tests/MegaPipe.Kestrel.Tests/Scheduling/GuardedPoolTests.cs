// Handlers that block, whatever the server and their connections did before: nobody waits for the pool to grow by
// itself. Measured: 0.05 s for others here, 8 s with the pool left alone.
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class GuardedPoolTests
{
    /// <summary>Far above what is measured, far below what a stuck pool takes.</summary>
    private static readonly TimeSpan s_slack = TimeSpan.FromSeconds(3);

    /// <summary>After that nothing but a wake-up makes the channel look: every read has its poll for the end.</summary>
    private static readonly TimeSpan s_settled = TimeSpan.FromSeconds(1);

    [Theory]
    [InlineData("none", 40)]
    [InlineData("short", 40)]
    [InlineData("long", 40)]
    [InlineData("mixed", 40)]
    [InlineData("none", 200)]
    [InlineData("long", 200)]
    public async Task HandlersBlock_NeitherOthersNorTheyWaitForThePool(string before, int count)
    {
        await using ChildProcess server = await GuardedServer.StartAsync(TransportKind.MegaPipe);
        int port = int.Parse(server.Answer, CultureInfo.InvariantCulture);
        HttpPeer[] blocked = new HttpPeer[count];
        for (int i = 0; i < count; i++)
        {
            blocked[i] = await ConnectAsync(port);
            string path = before == "long" || (before == "mixed" && i % 2 == 0) ? "/spin" : "/";
            for (int round = 0; before != "none" && round < 10; round++)
            {
                await blocked[i].GetAsync(path);
            }
        }

        HttpPeer open = await ConnectAsync(port);
        if (before != "none")
        {
            await open.GetAsync("/");
        }

        long start = Stopwatch.GetTimestamp();
        foreach (HttpPeer peer in blocked)
        {
            await peer.SendAsync(HttpPeer.Get("/block"));
        }

        TimeSpan worst = TimeSpan.Zero;
        while (Stopwatch.GetElapsedTime(start) < GuardedServer.Block)
        {
            worst = Max(worst, await TimeAsync(open));
            worst = Max(worst, await TimeAsync(await ConnectAsync(port)));
        }

        foreach (HttpPeer peer in blocked)
        {
            Assert.Equal((200, "done"), await peer.ReceiveAsync());
        }

        TimeSpan all = Stopwatch.GetElapsedTime(start);
        Assert.True(worst < s_slack, $"others waited {worst.TotalSeconds:0.000} s");
        Assert.True(all < GuardedServer.Block + s_slack, $"the blocked ones took {all.TotalSeconds:0.000} s");
    }

    [Fact]
    public async Task PoolStaysStuck_WhatAHandlerHasFlushedIsSent()
    {
        await using ChildProcess server = await StuckPoolServer.StartAsync();
        HttpPeer peer = await ConnectAsync(int.Parse(server.Answer, CultureInfo.InvariantCulture));
        Assert.Equal("plain", await peer.GetAsync("/"));
        await Task.Delay(s_settled);
        Assert.Equal("sent", await peer.GetAsync("/stick"));
    }

    private static async Task<TimeSpan> TimeAsync(HttpPeer peer)
    {
        long start = Stopwatch.GetTimestamp();
        await peer.GetAsync("/");
        return Stopwatch.GetElapsedTime(start);
    }

    private static async Task<HttpPeer> ConnectAsync(int port)
    {
        Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(IPAddress.Loopback, port);
        return new HttpPeer(socket);
    }

    private static TimeSpan Max(TimeSpan one, TimeSpan other) => one > other ? one : other;
}
