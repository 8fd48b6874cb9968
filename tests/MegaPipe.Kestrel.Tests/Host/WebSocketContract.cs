// WebSockets: messages of all sizes both ways, closing from either side, and clients that vanish.
using System.Net.WebSockets;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class WebSocketContract(TransportKind kind)
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Echo_MessagesOfAllSizes_ComeBackThenCloseHandshake(bool tls)
    {
        await using HostHarness host = await Start(EchoAsync, tls);
        using ClientWebSocket client = await ConnectAsync(host, tls);
        foreach (int size in (int[])[0, 1, 125, 126, 65_535, 65_536, 1_000_000])
        {
            byte[] message = Client.Pattern(size, size);
            Task<byte[]> received = ReceiveAsync(client);
            await client.SendAsync(message, WebSocketMessageType.Binary, true, CancellationToken.None).InTime();
            Assert.Equal(message, await received.InTime());
        }

        await client.CloseAsync(WebSocketCloseStatus.NormalClosure, "done", CancellationToken.None).InTime();
        Assert.Equal(WebSocketState.Closed, client.State);
        Assert.Equal(WebSocketCloseStatus.NormalClosure, client.CloseStatus);
    }

    [Fact]
    public async Task ServerPush_ClientSilent_EveryMessageArrives()
    {
        const int Messages = 500;
        await using HostHarness host = await Start(async socket =>
        {
            for (int i = 0; i < Messages; i++)
            {
                await socket.SendAsync(
                    Encoding.ASCII.GetBytes($"{i}"), WebSocketMessageType.Text, true, CancellationToken.None);
            }

            await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None);
        });
        using ClientWebSocket client = await ConnectAsync(host, tls: false);
        for (int i = 0; i < Messages; i++)
        {
            Assert.Equal($"{i}", Encoding.ASCII.GetString(await ReceiveAsync(client).InTime()));
        }

        WebSocketReceiveResult end = await client.ReceiveAsync(new byte[10], CancellationToken.None).InTime();
        Assert.Equal(WebSocketMessageType.Close, end.MessageType);
    }

    [Fact]
    public async Task ClientAborts_ServerReceiveEnds()
    {
        TaskCompletionSource<Exception?> ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await Start(async socket =>
        {
            try
            {
                await EchoAsync(socket);
                ended.SetResult(null);
            }
            catch (Exception e)
            {
                ended.SetResult(e);
            }
        });
        using ClientWebSocket client = await ConnectAsync(host, tls: false);
        client.Abort();
        Assert.NotNull(await ended.Task.InTime());
    }

    private Task<HostHarness> Start(Func<WebSocket, Task> serve, bool tls = false) => HostHarness.StartAsync(
        kind,
        async context =>
        {
            using WebSocket socket = await context.WebSockets.AcceptWebSocketAsync();
            await serve(socket);
        },
        setup =>
        {
            setup.App = app => app.UseWebSockets();
            setup.Listen = listen =>
            {
                if (tls)
                {
                    listen.UseHttps(TestCertificate.Instance);
                }
            };
        });

    private static async Task<ClientWebSocket> ConnectAsync(HostHarness host, bool tls)
    {
        ClientWebSocket client = new();
        Uri uri = new(tls ? "wss://localhost/" : "ws://localhost/");
        await client.ConnectAsync(uri, host.CreateInvoker(tls), CancellationToken.None).InTime();
        return client;
    }

    private static async Task EchoAsync(WebSocket socket)
    {
        byte[] buffer = new byte[16 * 1024];
        while (true)
        {
            ValueWebSocketReceiveResult result = await socket.ReceiveAsync(buffer.AsMemory(), CancellationToken.None);
            if (result.MessageType == WebSocketMessageType.Close)
            {
                await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, CancellationToken.None);
                return;
            }

            await socket.SendAsync(
                buffer.AsMemory(0, result.Count), result.MessageType, result.EndOfMessage, CancellationToken.None);
        }
    }

    private static async Task<byte[]> ReceiveAsync(WebSocket socket)
    {
        using MemoryStream all = new();
        byte[] buffer = new byte[16 * 1024];
        while (true)
        {
            ValueWebSocketReceiveResult result =
                await socket.ReceiveAsync(buffer.AsMemory(), CancellationToken.None).InTime();
            all.Write(buffer, 0, result.Count);
            if (result.EndOfMessage)
            {
                return all.ToArray();
            }
        }
    }
}
