// Accepting: order of life of a listener, what is accepted while it closes, and clients that are gone already.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class AcceptContract(TransportKind kind)
{
    [Fact]
    public async Task Accept_AfterUnbind_Null()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        await listener.UnbindAsync().InTime();
        Assert.Null(await listener.AcceptAsync().InTime());
        Assert.Null(await listener.AcceptAsync().InTime());
    }

    [Fact]
    public async Task Accept_PendingAtUnbind_Null()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        Task<ConnectionContext?> accept = listener.AcceptAsync().AsTask();
        Assert.False(accept.IsCompleted);
        await listener.UnbindAsync().InTime();
        Assert.Null(await accept.InTime());
    }

    [Fact]
    public async Task Accept_PendingAtDispose_Null()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        Task<ConnectionContext?> accept = listener.AcceptAsync().AsTask();
        await listener.DisposeAsync().InTime();
        Assert.Null(await accept.InTime());
    }

    [Fact]
    public async Task Unbind_Twice_IsHarmless()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        await listener.UnbindAsync().InTime();
        await listener.UnbindAsync().InTime();
        await listener.DisposeAsync().InTime();
        await listener.DisposeAsync().InTime();
    }

    [Fact]
    public async Task Connection_AcceptedBeforeUnbind_GoesOn()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        ConnectedPair pair = await harness.ConnectAsync(listener);
        await listener.UnbindAsync().InTime();
        await listener.DisposeAsync().InTime();

        await pair.Client.SendAllAsync("ping");
        Assert.Equal("ping"u8.ToArray(), await pair.Server.Transport.Input.ReadExactlyAsync(4));
        await pair.Server.Transport.Output.WriteAsync("pong"u8.ToArray()).InTime();
        Assert.Equal("pong"u8.ToArray(), await pair.Client.ReceiveExactlyAsync(4));
    }

    [Fact]
    public async Task Accept_ManyClientsAtOnce_EveryOneIsServed()
    {
        const int Clients = 200;
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        Task<Socket>[] connects =
            [.. Enumerable.Range(0, Clients).Select(_ => harness.ConnectClientAsync(listener.EndPoint))];
        Dictionary<EndPoint, ConnectionContext> byRemote = [];
        for (int i = 0; i < Clients; i++)
        {
            ConnectionContext server = await harness.AcceptAsync(listener);
            byRemote.Add(server.RemoteEndPoint!, server);
        }

        foreach (Socket client in await Task.WhenAll(connects).InTime())
        {
            ConnectionContext server = byRemote[client.LocalEndPoint!];
            byte[] name = BitConverter.GetBytes(((IPEndPoint)client.LocalEndPoint!).Port);
            await client.SendAllAsync(name);
            Assert.Equal(name, await server.Transport.Input.ReadExactlyAsync(name.Length));
        }
    }

    [Fact]
    public async Task Accept_ClientsConnectedBeforeAccept_AreServedInOrder()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        Socket client = await harness.ConnectClientAsync(listener.EndPoint);
        await client.SendAllAsync("early");
        ConnectionContext server = await harness.AcceptAsync(listener);
        Assert.Equal("early"u8.ToArray(), await server.Transport.Input.ReadExactlyAsync(5));
    }

    [Fact]
    public async Task Accept_ClientResetBeforeAccept_NextClientIsServed()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        for (int i = 0; i < 20; i++)
        {
            (await harness.ConnectClientAsync(listener.EndPoint)).Reset();
        }

        Socket last = await harness.ConnectClientAsync(listener.EndPoint);
        await last.SendAllAsync("here");
        // Connections that were reset in the queue may or may not be given out; the living one must come.
        while (true)
        {
            ConnectionContext server = await harness.AcceptAsync(listener);
            if (server.RemoteEndPoint is IPEndPoint remote && remote.Equals(last.LocalEndPoint))
            {
                Assert.Equal("here"u8.ToArray(), await server.Transport.Input.ReadExactlyAsync(4));
                return;
            }
        }
    }

    [Fact]
    public async Task Accept_FinishedBeforeAccept_BytesAndEndArrive()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        Socket client = await harness.ConnectClientAsync(listener.EndPoint);
        await client.SendAllAsync("all of it");
        client.Shutdown(SocketShutdown.Send);
        ConnectionContext server = await harness.AcceptAsync(listener);
        Assert.Equal("all of it"u8.ToArray(), await server.Transport.Input.ReadToEndAsync());
    }
}
