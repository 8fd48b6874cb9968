// Bodies: big uploads and downloads byte for byte, both at once, and beyond 2 GiB.
using System.Net;
using System.Security.Cryptography;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class BodyContract(TransportKind kind)
{
    private const int Size = 20_000_003;
    private const long BeyondTwoGibibytes = (2L * 1024 * 1024 * 1024) + 12_345;

    [Theory]
    [InlineData("http1")]
    [InlineData("h2c")]
    [InlineData("tls")]
    [InlineData("h2")]
    public async Task Upload_Big_EveryByteArrives(string protocol)
    {
        byte[] body = Client.Pattern(Size);
        await using HostHarness host = await Start(protocol, async context =>
        {
            byte[] hash = await SHA256.HashDataAsync(context.Request.Body);
            await context.Response.WriteAsync(Convert.ToHexString(hash));
        });
        using HttpResponseMessage response = await CreateClient(host, protocol)
            .PostAsync(new Uri("/", UriKind.Relative), new ByteArrayContent(body)).InTime();
        Assert.Equal(Convert.ToHexString(SHA256.HashData(body)), await response.Content.ReadAsStringAsync());
    }

    [Theory]
    [InlineData("http1")]
    [InlineData("h2c")]
    [InlineData("tls")]
    [InlineData("h2")]
    public async Task Download_Big_EveryByteArrives(string protocol)
    {
        byte[] body = Client.Pattern(Size);
        await using HostHarness host = await Start(
            protocol, async context => await context.Response.Body.WriteAsync(body));
        byte[] received = await CreateClient(host, protocol)
            .GetByteArrayAsync(new Uri("/", UriKind.Relative)).InTime();
        Assert.True(body.AsSpan().SequenceEqual(received));
    }

    [Theory]
    [InlineData("http1")]
    [InlineData("h2")]
    public async Task Echo_Big_BothDirectionsAtOnce(string protocol)
    {
        byte[] body = Client.Pattern(5_000_000);
        await using HostHarness host = await Start(
            protocol, context => context.Request.Body.CopyToAsync(context.Response.Body));
        HttpClient client = CreateClient(host, protocol);
        // HttpClient reads the response of an array's upload only when all of it is sent: that would be no echo.
        StreamedContent content = new();
        using HttpRequestMessage request = new(HttpMethod.Post, "/")
        {
            Content = content,
            Version = client.DefaultRequestVersion,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        request.Headers.TransferEncodingChunked = protocol == "http1" ? true : null;
        Task<HttpResponseMessage> sending = client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Stream up = await content.Stream.InTime();
        Task upload = Task.Run(async () =>
        {
            await up.WriteAsync(body);
            await up.FlushAsync();
            content.Finish();
        });
        using HttpResponseMessage response = await sending.InTime();
        byte[] received = await response.Content.ReadAsByteArrayAsync().InTime();
        await upload.InTime();
        Assert.True(body.AsSpan().SequenceEqual(received));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(16_384)]
    [InlineData(1_048_576)]
    public async Task Download_ManyWritesOfOneSize_ContentLengthHolds(int writeSize)
    {
        int writes = Math.Min(3_000, 8_000_000 / writeSize);
        byte[] chunk = Client.Pattern(writeSize);
        await using HostHarness host = await Start("http1", async context =>
        {
            context.Response.ContentLength = (long)writes * writeSize;
            for (int i = 0; i < writes; i++)
            {
                await context.Response.Body.WriteAsync(chunk);
            }
        });
        byte[] received = await host.CreateClient().GetByteArrayAsync(new Uri("/", UriKind.Relative)).InTime();
        Assert.Equal((long)writes * writeSize, received.LongLength);
        for (int i = 0; i < writes; i++)
        {
            Assert.True(received.AsSpan(i * writeSize, writeSize).SequenceEqual(chunk), $"write {i} differs");
        }
    }

    [Fact]
    [Trait("Speed", "Slow")]
    public async Task Upload_BeyondTwoGibibytes_EveryByteIsCounted()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                long total = 0;
                byte[] buffer = new byte[256 * 1024];
                int read;
                while ((read = await context.Request.Body.ReadAsync(buffer)) > 0)
                {
                    total += read;
                }

                await context.Response.WriteAsync($"[{total}]");
            },
            setup => setup.Kestrel = options => options.Limits.MaxRequestBodySize = null);
        var client = await host.ConnectAsync();
        await client.SendAllAsync($"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {BeyondTwoGibibytes}\r\n\r\n");
        byte[] chunk = new byte[1024 * 1024];
        for (long left = BeyondTwoGibibytes; left > 0; left -= chunk.Length)
        {
            await client.SendAllAsync(chunk.AsMemory(0, (int)Math.Min(left, chunk.Length)));
        }

        Assert.Contains(
            $"[{BeyondTwoGibibytes}]", await client.ReceiveUntilAsync("]"), StringComparison.Ordinal);
    }

    private Task<HostHarness> Start(string protocol, RequestDelegate handler) =>
        HostHarness.StartAsync(kind, handler, setup =>
        {
            setup.Kestrel = options => options.Limits.MaxRequestBodySize = null;
            setup.Listen = listen => Protocols.Configure(listen, protocol);
        });

    private static HttpClient CreateClient(HostHarness host, string protocol) => host.CreateClient(
        protocol is "h2" or "h2c" ? HttpVersion.Version20 : HttpVersion.Version11, protocol is "tls" or "h2");
}
