// HTTP/1.1 over raw sockets: keep-alive, pipelining, chunks, trailers, 100-continue, upgrade, closing.
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class Http1Contract(TransportKind kind)
{
    [Fact]
    public async Task KeepAlive_ManyRequests_OneConnection()
    {
        HashSet<string> ids = [];
        await using HostHarness host = await HostHarness.StartAsync(kind, context =>
        {
            ids.Add(context.Connection.Id);
            return context.Response.WriteAsync(context.Request.Path.Value![1..]);
        });
        Socket client = await host.ConnectAsync();
        for (int i = 0; i < 200; i++)
        {
            await client.SendAllAsync($"GET /n{i}n HTTP/1.1\r\nHost: a\r\n\r\n");
            string response = await client.ReceiveUntilAsync("\r\n0\r\n\r\n");
            Assert.Contains($"n{i}n", response, StringComparison.Ordinal);
        }

        Assert.Single(ids);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(4096)]
    [InlineData(100_000)]
    public async Task BodyWriter_MemoryBeforeTheFirstFlush_IsSent(int sizeHint)
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, context =>
        {
            Span<byte> span = context.Response.BodyWriter.GetSpan(sizeHint);
            Assert.True(span.Length >= Math.Max(1, sizeHint));
            span[0] = (byte)'x';
            context.Response.BodyWriter.Advance(1);
            return Task.CompletedTask;
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        string response = await client.ReceiveUntilAsync("\r\n0\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 200 ", response, StringComparison.Ordinal);
        Assert.EndsWith("1\r\nx\r\n0\r\n\r\n", response, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ConnectionInfo_Tcp_IsTheSockets()
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, context => context.Response.WriteAsync(
            $"{context.Connection.RemoteIpAddress}:{context.Connection.RemotePort} " +
            $"{context.Connection.LocalIpAddress}:{context.Connection.LocalPort}"));
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        string response = await client.ReceiveUntilAsync("\r\n0\r\n\r\n");
        Assert.Contains($"{client.LocalEndPoint} {client.RemoteEndPoint}", response, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Pipelining_RequestsInOneSegment_ResponsesInOrder()
    {
        const int Requests = 64;
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            string path = context.Request.Path.Value!;
            context.Response.ContentLength = path.Length;
            if (path.EndsWith('3'))
            {
                await Task.Yield();
            }

            await context.Response.WriteAsync(path);
        });
        Socket client = await host.ConnectAsync();
        StringBuilder requests = new();
        for (int i = 0; i < Requests; i++)
        {
            requests.Append(CultureInfo.InvariantCulture, $"GET /r{i:D4} HTTP/1.1\r\nHost: a\r\n\r\n");
        }

        await client.SendAllAsync(requests.ToString());
        string responses = await client.ReceiveUntilAsync($"/r{Requests - 1:D4}");
        int position = -1;
        for (int i = 0; i < Requests; i++)
        {
            int next = responses.IndexOf($"/r{i:D4}", StringComparison.Ordinal);
            Assert.True(next > position, $"response {i} is missing or out of order");
            position = next;
        }
    }

    [Fact]
    public async Task ChunkedUpload_WithTrailers_BodyAndTrailersArrive()
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            string body = await new StreamReader(context.Request.Body).ReadToEndAsync();
            await context.Response.WriteAsync($"{body}|{context.Request.GetTrailer("x-sum")}");
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync(
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n");
        await client.SendAllAsync("5\r\nhello\r\n");
        await client.SendAllAsync("6\r\n world\r\n0\r\nx-sum: 42\r\n\r\n");
        Assert.Contains(
            "hello world|42", await client.ReceiveUntilAsync("\r\n0\r\n\r\n"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Expect100Continue_BodyRead_ContinueComesBeforeTheBodyIsSent()
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            string body = await new StreamReader(context.Request.Body).ReadToEndAsync();
            context.Response.ContentLength = body.Length;
            await context.Response.WriteAsync(body);
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
        string interim = await client.ReceiveUntilAsync("\r\n\r\n");
        Assert.Equal("HTTP/1.1 100 Continue\r\n\r\n", interim);
        await client.SendAllAsync("body");
        string final = await client.ReceiveUntilAsync("body");
        Assert.StartsWith("HTTP/1.1 200 OK", final, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Upgrade_Accepted_RawBytesBothWays()
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            IHttpUpgradeFeature feature = context.Features.GetRequiredFeature<IHttpUpgradeFeature>();
            Assert.True(feature.IsUpgradableRequest);
            await using Stream stream = await feature.UpgradeAsync();
            byte[] buffer = new byte[100];
            int read;
            while ((read = await stream.ReadAsync(buffer)) > 0)
            {
                await stream.WriteAsync(buffer.AsMemory(0, read));
            }
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n");
        Assert.StartsWith(
            "HTTP/1.1 101 ", await client.ReceiveUntilAsync("\r\n\r\n"), StringComparison.Ordinal);
        for (int i = 0; i < 10; i++)
        {
            await client.SendAllAsync("ping");
            Assert.Equal("ping"u8.ToArray(), await client.ReceiveExactlyAsync(4));
        }

        // Kestrel takes the client's FIN for the end of the request, so FIN and RST are both right answers to it.
        client.Shutdown(SocketShutdown.Send);
        await client.ReceiveEndAsync();
    }

    [Fact]
    public async Task ConnectionClose_Response_FinAfterTheLastByte()
    {
        byte[] body = Client.Pattern(1_000_000);
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            context.Response.ContentLength = body.Length;
            await context.Response.Body.WriteAsync(body);
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        byte[] response = await client.ReceiveToEndAsync();
        Assert.True(response.AsSpan()[^body.Length..].SequenceEqual(body));
    }

    [Fact]
    public async Task StreamedResponse_FlushedPart_ArrivesBeforeTheRestIsWritten()
    {
        TaskCompletionSource firstSeen = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            await context.Response.WriteAsync("first");
            await context.Response.Body.FlushAsync();
            await firstSeen.Task.InTime();
            await context.Response.WriteAsync("second");
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        Assert.DoesNotContain("second", await client.ReceiveUntilAsync("first"), StringComparison.Ordinal);
        firstSeen.SetResult();
        await client.ReceiveUntilAsync("second\r\n0\r\n\r\n");
    }

    [Fact]
    public async Task Http10_KeepAliveNotAsked_ResponseEndsWithFin()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            kind, context => context.Response.WriteAsync("old"));
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.0\r\n\r\n");
        Assert.EndsWith(
            "old", Encoding.ASCII.GetString(await client.ReceiveToEndAsync()), StringComparison.Ordinal);
    }

    [Fact]
    public async Task BodyTooLarge_413AndClosed()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context => await context.Request.Body.CopyToAsync(Stream.Null),
            setup => setup.Kestrel = options => options.Limits.MaxRequestBodySize = 1_000);
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n");
        Assert.StartsWith(
            "HTTP/1.1 413 ", await client.ReceiveUntilAsync("\r\n\r\n"), StringComparison.Ordinal);
        await client.ReceiveEndAsync();
    }

    [Fact]
    public async Task MemoryPoolFeature_RentZero_FourKibibyteBlock()
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, context =>
        {
            var pool = context.Features
                .GetRequiredFeature<Microsoft.AspNetCore.Connections.Features.IMemoryPoolFeature>().MemoryPool;
            using var zero = pool.Rent(0);
            using var unspecified = pool.Rent();
            return context.Response.WriteAsync(
                $"{zero.Memory.Length} {unspecified.Memory.Length} {pool.MaxBufferSize}");
        });
        Assert.Equal("4096 4096 4096", await host.CreateClient().GetStringAsync(new Uri("/", UriKind.Relative)));
    }
}
