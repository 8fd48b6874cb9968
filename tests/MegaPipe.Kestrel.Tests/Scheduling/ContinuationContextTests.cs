// What a handler finds on a carrier: a clean context, no synchronization context, a flat stack; and what it leaves.
using System.Diagnostics;
using System.IO.Pipelines;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class ContinuationContextTests
{
    private static readonly AsyncLocal<string?> s_local = new();

    [Theory]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeInline)]
    public async Task AsyncLocal_SetInOneHandler_IsNotSeenInAnother(TransportKind kind)
    {
        int onCarrier = 0;
        await using HostHarness host = await SchedulingHost.StartAsync(
            async context =>
            {
                string seen = s_local.Value ?? "clean";
                s_local.Value = context.Request.Path;
                onCarrier += SchedulingHost.OnCarrier ? 1 : 0;
                if (context.Request.Path == "/later")
                {
                    await Task.Yield();
                }

                await context.Answer(seen);
            },
            options => options.Channels = 1,
            kind);
        HttpPeer[] peers = [await host.ConnectPeerAsync(), await host.ConnectPeerAsync()];
        for (int i = 0; i < 50; i++)
        {
            foreach (HttpPeer peer in peers)
            {
                Assert.Equal("clean", await peer.GetAsync(i % 3 == 0 ? "/later" : "/"));
            }

            await peers[0].SendAsync(HttpPeer.Get("/1") + HttpPeer.Get("/2"));
            Assert.Equal((200, "clean"), await peers[0].ReceiveAsync());
            Assert.Equal((200, "clean"), await peers[0].ReceiveAsync());
        }

        Assert.True(onCarrier > 0);
    }

    [Theory]
    [InlineData(TransportKind.Sockets)]
    [InlineData(TransportKind.MegaPipeThreadPool)]
    [InlineData(TransportKind.MegaPipeInline)]
    [InlineData(TransportKind.MegaPipe)]
    public async Task SynchronizationContext_SetInOneHandler_IsNotSeenInAnother(TransportKind kind)
    {
        await using HostHarness host = await SchedulingHost.StartAsync(
            context =>
            {
                string seen = $"{SynchronizationContext.Current?.GetType().Name ?? "none"} {TaskScheduler.Current.Id}";
                SynchronizationContext.SetSynchronizationContext(new SynchronizationContext());
                return context.Answer(seen);
            },
            options => options.Channels = 1,
            kind);
        HttpPeer[] peers = [await host.ConnectPeerAsync(), await host.ConnectPeerAsync()];
        for (int i = 0; i < 20; i++)
        {
            Assert.Equal($"none {TaskScheduler.Default.Id}", await peers[i % 2].GetAsync("/"));
        }
    }

    [Fact]
    public async Task Pipelined_TenThousandOnOneConnection_AreAnsweredInOrderOnAFlatStack()
    {
        const int Requests = 10_000;
        int next = 0, outOfOrder = 0, deepest = 0, shallowest = int.MaxValue;
        await using HostHarness host = await SchedulingHost.StartAsync(
            context =>
            {
                int number = int.Parse(context.Request.Path.Value!.AsSpan(1), null);
                outOfOrder += number == next++ ? 0 : 1;
                if (number % 500 == 0)
                {
                    int depth = new StackTrace(fNeedFileInfo: false).FrameCount;
                    deepest = Math.Max(deepest, depth);
                    shallowest = Math.Min(shallowest, depth);
                }

                return context.Answer($"{number}");
            },
            options => options.Channels = 1);
        HttpPeer peer = await host.ConnectPeerAsync();
        StringBuilder all = new();
        for (int i = 0; i < Requests; i++)
        {
            all.Append(HttpPeer.Get($"/{i}"));
        }

        Task send = peer.SendAsync(all.ToString());
        for (int i = 0; i < Requests; i++)
        {
            Assert.Equal((200, $"{i}"), await peer.ReceiveAsync());
        }

        await send.InTime();
        Assert.Equal(0, outOfOrder);
        Assert.True(deepest < shallowest + 60, $"stack depth {shallowest} to {deepest}");
    }

    [Theory]
    [InlineData(TransportKind.Sockets)]
    [InlineData(TransportKind.MegaPipeThreadPool)]
    [InlineData(TransportKind.MegaPipeInline)]
    [InlineData(TransportKind.MegaPipe)]
    public async Task RawContinuation_LeavesContextBehind_TheNextOneDoesNotSeeIt(TransportKind kind)
    {
        // An awaiter's UnsafeOnCompleted flows no context, so only who runs the continuation can keep its own clean.
        await using TransportHarness transport = TransportHarness.Create(kind);
        ConnectedPair pair = await transport.ConnectAsync();
        PipeReader input = pair.Server.Transport.Input;
        List<string> seen = [];
        for (int round = 0; round < 6; round++)
        {
            // Every other one cleans up, so that a carrier, which outlives this test, is left as it was.
            bool leaves = round % 2 == 0;
            TaskCompletionSource<string> found = new(TaskCreationOptions.RunContinuationsAsynchronously);
            System.Runtime.CompilerServices.ValueTaskAwaiter<ReadResult> read = input.ReadAsync().GetAwaiter();
            read.UnsafeOnCompleted(() =>
            {
                string text = $"{s_local.Value ?? "clean"} {SynchronizationContext.Current?.ToString() ?? "none"}";
                s_local.Value = leaves ? "left behind" : null;
                SynchronizationContext.SetSynchronizationContext(leaves ? new SynchronizationContext() : null);
                input.AdvanceTo(read.GetResult().Buffer.End);
                found.SetResult(text);
            });
            await pair.Client.SendAllAsync("x");
            seen.Add(await found.Task.InTime());
        }

        Assert.All(seen, text => Assert.Equal("clean none", text));
    }
}
