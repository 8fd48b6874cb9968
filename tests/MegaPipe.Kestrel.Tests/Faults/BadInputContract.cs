// Bad input: garbage, half requests, resets at every stage, one byte at a time. Others are served all the while.
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Faults;

public abstract class BadInputContract(TransportKind kind, ITestOutputHelper output)
{
    private const string Get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    private const string Post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    private static readonly byte[] BigBody = new byte[8 * 1024 * 1024];

    [Theory]
    [InlineData("\r\n\r\n\r\nhello")]
    [InlineData("GET\r\n\r\n")]
    [InlineData("GET / HTTP/9.9\r\n\r\n")]
    [InlineData("GET / HTTP/1.1\r\nHost a\r\n\r\n")]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n")]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")]
    [InlineData("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0")]
    [InlineData("\u0016\u0003\u0001\u0002\0\u0001")]
    public async Task Garbage_ConnectionEndsOrIsRefused_OthersAreServed(string garbage)
    {
        await using HostHarness host = await Start();
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync(Encoding.Latin1.GetBytes(garbage));
        client.Shutdown(SocketShutdown.Send);
        await client.ReceiveEndAsync();
        await host.AssertServesAsync();
        Assert.Equal(0, host.Logs.Count(LogCapture.ConnectionError));
    }

    [Fact]
    public async Task Garbage_RandomBytesOnManyConnections_OthersAreServed()
    {
        int seed = NewSeed();
        Random random = new(seed);
        await using HostHarness host = await Start();
        for (int i = 0; i < 60; i++)
        {
            byte[] bytes = new byte[random.Next(1, 5_000)];
            random.NextBytes(bytes);
            Socket client = await host.ConnectAsync();
            try
            {
                await client.SendAllAsync(bytes);
                client.Shutdown(SocketShutdown.Send);
            }
            catch (SocketException)
            {
                // The server has seen enough already.
            }

            await client.ReceiveEndAsync();
        }

        await host.AssertServesAsync();
    }

    [Theory]
    [InlineData("")]
    [InlineData("G")]
    [InlineData("GET / HTTP/1.1\r\nHo")]
    [InlineData("GET / HTTP/1.1\r\nHost: a\r\n\r")]
    [InlineData("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")]
    [InlineData(Get + "GET / HT")]
    public async Task HalfRequest_ThenNothingFinOrReset_OthersAreServed(string half)
    {
        await using HostHarness host = await Start();
        Socket silent = await host.ConnectAsync();
        await silent.SendAllAsync(half);
        Socket ended = await host.ConnectAsync();
        await ended.SendAllAsync(half);
        ended.Shutdown(SocketShutdown.Send);
        await ended.ReceiveEndAsync();
        Socket reset = await host.ConnectAsync();
        await reset.SendAllAsync(half);
        reset.Reset();
        await host.AssertServesAsync();
        Assert.Equal(0, host.Logs.Count(LogCapture.ConnectionError));
    }

    [Theory]
    [InlineData("connected")]
    [InlineData("headers")]
    [InlineData("body")]
    [InlineData("response")]
    [InlineData("keepalive")]
    [InlineData("pipelined")]
    public async Task Reset_AtAStage_OthersAreServed(string stage)
    {
        await using HostHarness host = await Start();
        for (int i = 0; i < 10; i++)
        {
            Socket client = await host.ConnectAsync();
            switch (stage)
            {
                case "headers":
                    await client.SendAllAsync(Get[..20]);
                    break;
                case "body":
                    await client.SendAllAsync(Post + "part");
                    break;
                case "response":
                    await client.SendAllAsync("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
                    await client.ReceiveUntilAsync("\r\n\r\n");
                    break;
                case "keepalive":
                    await client.SendAllAsync(Get);
                    await client.ReceiveUntilAsync("hello");
                    break;
                case "pipelined":
                    await client.SendAllAsync(string.Concat(Enumerable.Repeat(Get, 100)));
                    break;
                default:
                    break;
            }

            client.Reset();
        }

        await host.AssertServesAsync();

        // Stock's receive meets a socket that its own shutdown has disposed, once in some thousand resets.
        Assert.DoesNotContain(
            host.Logs.Transport(LogCapture.ConnectionError),
            error => kind.IsMegaPipe() || error.Exception is not ObjectDisposedException);
    }

    [Fact]
    public async Task OneByteAtATime_RequestWithBody_IsAnswered()
    {
        const string Request = "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello world";
        await using HostHarness host = await Start();
        Socket client = await host.ConnectAsync();
        for (int round = 0; round < 3; round++)
        {
            foreach (byte one in Encoding.ASCII.GetBytes(Request))
            {
                await client.SendAllAsync(new[] { one });
            }

            Assert.StartsWith(
                "HTTP/1.1 200 ", await client.ReceiveUntilAsync("world\r\n0\r\n\r\n"), StringComparison.Ordinal);
        }
    }

    private int NewSeed()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        return seed;
    }

    private Task<HostHarness> Start() => HostHarness.StartAsync(kind, async context =>
    {
        switch (context.Request.Path)
        {
            case "/big":
                context.Response.ContentLength = BigBody.Length;
                await context.Response.Body.WriteAsync(BigBody);
                break;
            case "/echo":
                string body = await new StreamReader(context.Request.Body).ReadToEndAsync();
                await context.Response.WriteAsync(body);
                break;
            default:
                await context.Request.Body.CopyToAsync(Stream.Null);
                await context.Response.WriteAsync("hello");
                break;
        }
    });
}
