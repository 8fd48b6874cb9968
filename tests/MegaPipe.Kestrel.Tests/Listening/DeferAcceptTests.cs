// Clients that have sent nothing are the kernel's, where the options say so.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Listening;

[Trait("Transport", "MegaPipe"), Trait("Area", "Listening")]
public sealed class DeferAcceptTests
{
    /// <summary>Enough for each of two partitions to get some.</summary>
    private const int SilentClients = 16;

    [Fact]
    public async Task Accept_Deferred_WhoSendsComesBeforeWhoWasSilentEarlier()
    {
        await using TransportHarness harness = Create(TimeSpan.FromMinutes(1));
        IConnectionListener listener = await harness.BindAsync();
        List<Socket> silent = [];
        for (int i = 0; i < SilentClients; i++)
        {
            silent.Add(await harness.ConnectClientAsync(listener.EndPoint));
        }

        Socket client = await harness.ConnectClientAsync(listener.EndPoint);
        await client.SendAllAsync("x");
        ConnectionContext first = await harness.AcceptAsync(listener);
        Assert.Equal(client.LocalEndPoint, first.RemoteEndPoint);
        Assert.Equal(1, (await first.Transport.Input.ReadAsync().AsTask().InTime()).Buffer.Length);

        // They were connected all the time: what they send, and an end without it, brings them here.
        for (int i = 0; i < SilentClients; i++)
        {
            if (i % 2 == 0)
            {
                await silent[i].SendAllAsync("y");
            }
            else
            {
                silent[i].Shutdown(SocketShutdown.Send);
            }

            ConnectionContext next = await harness.AcceptAsync(listener);
            Assert.Equal(silent[i].LocalEndPoint, next.RemoteEndPoint);
        }
    }

    [Fact]
    public async Task Accept_NotDeferred_WhoIsSilentComesToo()
    {
        await using TransportHarness harness = Create(null);
        IConnectionListener listener = await harness.BindAsync();
        Socket client = await harness.ConnectClientAsync(listener.EndPoint);
        ConnectionContext first = await harness.AcceptAsync(listener);
        Assert.Equal(client.LocalEndPoint, first.RemoteEndPoint);
    }

    [Fact]
    public async Task Unbind_SomebodyIsHeldBack_EndsAndResetsHim()
    {
        await using TransportHarness harness = Create(TimeSpan.FromMinutes(1));
        IConnectionListener listener = await harness.BindAsync();
        Socket silent = await harness.ConnectClientAsync(listener.EndPoint);
        await listener.UnbindAsync().InTime();
        await Assert.ThrowsAsync<SocketException>(async () =>
        {
            long end = Environment.TickCount64 + (long)InTimeExtensions.Limit.TotalMilliseconds;
            while (Environment.TickCount64 < end)
            {
                await silent.SendAllAsync("x").InTime(); // the answer to the first is a reset
                await Task.Delay(1);
            }
        });
    }

    private static TransportHarness Create(TimeSpan? time) => TransportHarness.Create(
        TransportKind.MegaPipe, settings => settings.MegaPipe = options =>
        {
            options.Channels = 2;
            options.DeferAccept = time;
        });
}
