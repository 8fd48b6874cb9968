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

    [Fact]
    public async Task Carrier_InAHandler_HasNoSynchronizationContextAndTheDefaultTaskScheduler()
    {
        await using HostHarness host = await SchedulingHost.StartAsync(
            context =>
            {
                string seen = $"{SchedulingHost.OnCarrier} {SynchronizationContext.Current is null} "
                    + $"{TaskScheduler.Current == TaskScheduler.Default}";
                SynchronizationContext.SetSynchronizationContext(new SynchronizationContext());
                return context.Answer(seen);
            },
            options => options.Channels = 1);
        HttpPeer[] peers = [await host.ConnectPeerAsync(), await host.ConnectPeerAsync()];
        int onCarrier = 0;
        for (int i = 0; i < 20; i++)
        {
            string seen = await peers[i % 2].GetAsync("/");
            Assert.EndsWith(" True True", seen, StringComparison.Ordinal);
            onCarrier += seen.StartsWith("True", StringComparison.Ordinal) ? 1 : 0;
        }

        Assert.True(onCarrier > 0);
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
        IConnectionListener listener = await transport.BindAsync();
        for (int round = 0; round < 4; round++)
        {
            ConnectedPair pair = await transport.ConnectAsync(listener);
            TaskCompletionSource<string> seen = new(TaskCreationOptions.RunContinuationsAsynchronously);
            PipeReader input = pair.Server.Transport.Input;
            System.Runtime.CompilerServices.ValueTaskAwaiter<ReadResult> read = input.ReadAsync().GetAwaiter();
            read.UnsafeOnCompleted(() =>
            {
                string found = $"{s_local.Value ?? "clean"} {SynchronizationContext.Current?.ToString() ?? "none"}";
                s_local.Value = "left behind";
                SynchronizationContext.SetSynchronizationContext(new SynchronizationContext());
                input.AdvanceTo(read.GetResult().Buffer.End);
                seen.SetResult(found);
            });
            await pair.Client.SendAllAsync("x");
            Assert.Equal("clean none", await seen.Task.InTime());
        }
    }
}
