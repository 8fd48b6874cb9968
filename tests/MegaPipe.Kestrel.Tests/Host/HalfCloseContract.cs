// Clients that shut their sending side down and wait: the connection's end is FIN or RST as stock's, at any speed of
// the application, and the log says which.
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class HalfCloseContract(TransportKind kind)
{
    private const int Clients = 30;
    private const int LargeBytes = 300_000;

    [Theory]
    [InlineData("get", 0, 0)]
    [InlineData("get", 20, 0)]
    [InlineData("get", 0, 20)]
    [InlineData("get", 20, 10)]
    [InlineData("large", 0, 0)]
    [InlineData("large", 0, 20)]
    [InlineData("large", 20, 0)]
    [InlineData("short-body", 0, 0)]
    [InlineData("short-body", 20, 0)]
    [InlineData("short-body", 0, 20)]
    [InlineData("upgrade", 0, 0)]
    [InlineData("upgrade", 20, 0)]
    [InlineData("upgrade", 0, 20)]
    public async Task ClientShutsItsSendingSideDown_AnyTime_EndsAndIsLoggedAsStock(string what, int appMs, int clientMs)
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, context => AnswerAsync(context, appMs));
        int whole = 0;
        int resets = 0;
        for (int i = 0; i < Clients; i++)
        {
            using Socket client = await host.ConnectAsync();
            await client.SendAllAsync(what switch
            {
                "short-body" => "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n" + new string('x', 50),
                "upgrade" => "GET /upgrade HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: any\r\n\r\nhello",
                _ => $"GET /{what} HTTP/1.1\r\nHost: a\r\n\r\n",
            });
            if (clientMs > 0)
            {
                await Task.Delay(clientMs);
            }

            client.Shutdown(SocketShutdown.Send);
            using MemoryStream answer = new();
            resets += await ReceiveAsync(client, answer).InTime() is null ? 0 : 1;
            whole += IsWhole(what, answer) ? 1 : 0;
        }

        await host.StopAsync();
        Assert.Equal(Clients - resets, host.Logs.Count(LogCapture.ConnectionWriteFin));
        Assert.Equal(resets, host.Logs.Count(LogCapture.ConnectionWriteRst));
        Assert.Equal(0, host.Logs.Count(LogCapture.ConnectionError));
        if (what != "short-body")
        {
            Assert.Equal(0, resets);
        }
        else if (appMs > 0)
        {
            Assert.Equal(0, resets); // closed before the handler looked
        }
        else if (clientMs > 0)
        {
            Assert.InRange(resets, Clients / 2, Clients); // the handler was reading: it is a bad request
        }

        if (what is "get" or "large" && appMs == 0 && clientMs > 0)
        {
            Assert.InRange(whole, Clients / 2, Clients); // answered before the client's end
        }

        if (what is "get" or "large" && appMs == 0 && kind.IsMegaPipe() && kind != TransportKind.MegaPipeThreadPool)
        {
            // Stock answers between none and all of them; where the handler runs on the channel it comes first.
            Assert.InRange(whole, Clients / 3, Clients);
        }
    }

    private static async Task AnswerAsync(HttpContext context, int milliseconds)
    {
        if (context.Request.Path == "/upgrade")
        {
            Stream stream = await context.Features.GetRequiredFeature<IHttpUpgradeFeature>().UpgradeAsync();
            byte[] bytes = new byte[100];
            int read;
            while ((read = await stream.ReadAsync(bytes)) > 0)
            {
                await PauseAsync(milliseconds);
                await stream.WriteAsync(bytes.AsMemory(0, read));
            }

            return;
        }

        await PauseAsync(milliseconds);
        if (context.Request.Method == "POST")
        {
            await context.Request.Body.CopyToAsync(Stream.Null);
        }

        byte[] answer = new byte[context.Request.Path == "/large" ? LargeBytes : 10];
        context.Response.ContentLength = answer.Length;
        await context.Response.Body.WriteAsync(answer);
    }

    private static Task PauseAsync(int milliseconds) =>
        milliseconds > 0 ? Task.Delay(milliseconds) : Task.CompletedTask;

    private static async Task<SocketError?> ReceiveAsync(Socket client, MemoryStream answer)
    {
        byte[] chunk = new byte[64 * 1024];
        try
        {
            while (true)
            {
                int received = await client.ReceiveAsync(chunk);
                if (received == 0)
                {
                    return null;
                }

                answer.Write(chunk, 0, received);
            }
        }
        catch (SocketException error)
        {
            return error.SocketErrorCode;
        }
    }

    private static bool IsWhole(string what, MemoryStream answer)
    {
        string text = Encoding.ASCII.GetString(answer.ToArray());
        int head = text.IndexOf("\r\n\r\n", StringComparison.Ordinal);
        return head > 0 && text.Length - head - 4 == (what == "large" ? LargeBytes : 10);
    }
}
