// Clients that the kernel has queued when their listener is unbound. The stock transport resets them.
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Transport;

[Trait("Transport", "MegaPipe"), Trait("Area", "Accept")]
public sealed class UnbindTests
{
    /// <summary>Far more than a partition has accepts outstanding.</summary>
    private const int Clients = 64;

    [Fact]
    public async Task Unbind_ClientsAreQueued_TheyAreServed()
    {
        await using TransportHarness harness = TransportHarness.Create(
            TransportKind.MegaPipeInline, settings => settings.MegaPipe = options => options.Channels = 1);
        IConnectionListener listener = await harness.BindAsync();
        ConnectedPair first = await harness.ConnectAsync(listener);
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim release = new();
        Task held = HoldCarrierAsync(first.Server.Transport.Input.ReadAsync(), entered, release);
        await first.Client.SendAllAsync("x");
        await Task.Run(() => Assert.True(entered.Wait(InTimeExtensions.Limit)));
        List<Socket> clients = [];
        for (int i = 0; i < Clients; i++)
        {
            clients.Add(await harness.ConnectClientAsync(listener.EndPoint));
        }

        Task unbind = listener.UnbindAsync().AsTask();
        release.Set();
        await unbind.InTime();
        await held.InTime();
        Dictionary<EndPoint, ConnectionContext> servers = [];
        for (int i = 0; i < Clients; i++)
        {
            ConnectionContext server = await harness.AcceptAsync(listener);
            servers.Add(server.RemoteEndPoint!, server);
        }

        Assert.Null(await listener.AcceptAsync().InTime());
        foreach (Socket client in clients)
        {
            await servers[client.LocalEndPoint!].Transport.Output.WriteAsync("y"u8.ToArray()).InTime();
            Assert.Equal("y"u8.ToArray(), await client.ReceiveExactlyAsync(1));
        }
    }

    /// <summary>The channel's only carrier accepts nothing until it is released.</summary>
    private static async Task HoldCarrierAsync(
        ValueTask<ReadResult> read, ManualResetEventSlim entered, ManualResetEventSlim release)
    {
        await read.ConfigureAwait(false);
        bool onCarrier = SchedulingHost.OnCarrier;
        entered.Set();
        release.Wait(InTimeExtensions.Limit);
        await Task.Yield();
        Assert.True(onCarrier);
    }
}
