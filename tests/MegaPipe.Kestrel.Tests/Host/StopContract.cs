// Stopping a host: idle, under load, with requests in flight, and past its timeout.
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class StopContract(TransportKind kind)
{
    [Fact]
    public async Task Stop_IdleKeepAliveConnections_AreClosedAndNewOnesRefused()
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, context => context.Response.WriteAsync("x"));
        List<Socket> clients = [];
        for (int i = 0; i < 20; i++)
        {
            Socket client = await host.ConnectAsync();
            await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            await client.ReceiveUntilAsync("\r\n0\r\n\r\n");
            clients.Add(client);
        }

        System.Net.IPEndPoint endPoint = host.EndPoint;
        await host.StopAsync();
        foreach (Socket client in clients)
        {
            Assert.Empty(await client.ReceiveToEndAsync());
        }

        SocketException e = await Assert.ThrowsAsync<SocketException>(() => host.ConnectAsync(endPoint));
        Assert.Equal(SocketError.ConnectionRefused, e.SocketErrorCode);
    }

    [Fact]
    public async Task Stop_RequestInFlight_FinishesFirst()
    {
        TaskCompletionSource entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously);
        byte[] body = Client.Pattern(2_000_000);
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            entered.SetResult();
            await release.Task.InTime();
            await context.Response.Body.WriteAsync(body);
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.0\r\n\r\n");
        await entered.Task.InTime();
        Task stop = host.StopAsync();
        Assert.False(stop.IsCompleted);
        release.SetResult();
        byte[] response = await client.ReceiveToEndAsync();
        Assert.True(response.AsSpan()[^body.Length..].SequenceEqual(body));
        await stop.InTime();
    }

    [Fact]
    public async Task Stop_RequestThatNeverEnds_IsAbortedAfterTheTimeout()
    {
        TaskCompletionSource entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                entered.SetResult();
                await context.RequestAborted.WaitForCancellation().InTime();
                aborted.SetResult();
            },
            setup => setup.ShutdownTimeout = TimeSpan.FromMilliseconds(300));
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        await entered.Task.InTime();
        await host.StopAsync();
        await aborted.Task.InTime();
        await client.ReceiveEndAsync();
    }

    [Fact]
    public async Task Stop_UnderLoad_NoResponseIsCut()
    {
        const int Clients = 16;
        byte[] body = Client.Pattern(30_000);
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            context.Response.ContentLength = body.Length;
            await context.Response.Body.WriteAsync(body);
        });
        TaskCompletionSource allServed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int served = 0;
        Task<int>[] clients = [.. Enumerable.Range(0, Clients).Select(_ => Task.Run(async () =>
        {
            Socket client = await host.ConnectAsync();
            int complete = 0;
            while (true)
            {
                try
                {
                    await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                }
                catch (SocketException)
                {
                    return complete;
                }

                if (!await ReceiveResponseAsync(client, body))
                {
                    return complete;
                }

                complete++;
                if (complete == 5 && Interlocked.Increment(ref served) == Clients)
                {
                    allServed.SetResult();
                }
            }
        }))];
        await allServed.Task.InTime();
        await host.StopAsync();
        Assert.All(await Task.WhenAll(clients).InTime(), complete => Assert.True(complete >= 5));
    }

    /// <summary>False when the connection ended before a response began; a response that began must be whole.</summary>
    private static async Task<bool> ReceiveResponseAsync(Socket client, byte[] body)
    {
        byte[] buffer = new byte[body.Length + 1_000];
        int filled = 0;
        while (true)
        {
            int headerEnd = buffer.AsSpan(0, filled).IndexOf("\r\n\r\n"u8);
            if (headerEnd >= 0 && filled >= headerEnd + 4 + body.Length)
            {
                Assert.StartsWith(
                    "HTTP/1.1 200", Encoding.ASCII.GetString(buffer, 0, 12), StringComparison.Ordinal);
                Assert.True(buffer.AsSpan(headerEnd + 4, body.Length).SequenceEqual(body));
                return true;
            }

            int received;
            try
            {
                received = await client.ReceiveAsync(buffer.AsMemory(filled)).InTime();
            }
            catch (SocketException) when (filled == 0)
            {
                return false;
            }

            if (received == 0)
            {
                Assert.True(filled == 0, $"cut after {filled} bytes of a response");
                return false;
            }

            filled += received;
        }
    }
}
