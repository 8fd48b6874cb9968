// UseHttps: handshakes good and bad, the features it sets, and connection logging under it.
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class TlsContract(TransportKind kind)
{
    [Fact]
    public async Task Https_KeepAlive_ManyRequestsOnOneHandshake()
    {
        int handshakes = 0;
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            context =>
            {
                Assert.NotNull(context.Features.Get<ITlsHandshakeFeature>());
                Assert.True(context.Request.IsHttps);
                return context.Response.WriteAsync(context.Request.Path);
            },
            setup => setup.Listen = listen => listen.UseHttps(options =>
                options.ServerCertificateSelector = (_, _) =>
                {
                    Interlocked.Increment(ref handshakes);
                    return TestCertificate.Instance;
                }));
        HttpClient client = host.CreateClient(tls: true);
        for (int i = 0; i < 50; i++)
        {
            Assert.Equal($"/{i}", await client.GetStringAsync(new Uri($"/{i}", UriKind.Relative)).InTime());
        }

        Assert.Equal(1, handshakes);
    }

    [Fact]
    public async Task Https_GarbageInsteadOfAHandshake_ClosedAndOthersAreServed()
    {
        await using HostHarness host = await StartHello();
        Socket garbage = await host.ConnectAsync();
        await garbage.SendAllAsync("this is not a TLS record, and never will be\r\n\r\n");
        await garbage.ReceiveEndAsync();
        Socket cut = await host.ConnectAsync();
        await cut.SendAllAsync(new byte[] { 0x16, 0x03, 0x01 });
        cut.Reset();
        Assert.Equal("hello", await host.CreateClient(tls: true).GetStringAsync(Root).InTime());
    }

    [Fact]
    public async Task Https_HandshakeNeverComes_ConnectionIsCutAfterTheTimeout()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            context => context.Response.WriteAsync("hello"),
            setup => setup.Listen = listen => listen.UseHttps(
                TestCertificate.Instance, options => options.HandshakeTimeout = TimeSpan.FromMilliseconds(200)));
        Socket silent = await host.ConnectAsync();
        await silent.ReceiveEndAsync().InTime();
        Assert.Equal("hello", await host.CreateClient(tls: true).GetStringAsync(Root).InTime());
    }

    [Fact]
    public async Task Https_ResponseThenClose_EveryByteThenCloseNotify()
    {
        byte[] body = Client.Pattern(3_000_000);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                context.Response.Headers.Connection = "close";
                await context.Response.Body.WriteAsync(body);
            },
            setup => setup.Listen = listen => Protocols.Configure(listen, "tls"));
        Socket socket = await host.ConnectAsync();
        await using SslStream tls = new(new NetworkStream(socket), false, (_, _, _, _) => true);
        await tls.AuthenticateAsClientAsync("localhost").InTime();
        await tls.WriteAsync("GET / HTTP/1.0\r\n\r\n"u8.ToArray()).InTime();
        using MemoryStream all = new();
        await tls.CopyToAsync(all).InTime();
        Assert.True(all.GetBuffer().AsSpan(0, (int)all.Length)[^body.Length..].SequenceEqual(body));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ConnectionLogging_Used_LogsTheBytesAndServes(bool tls)
    {
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            context => context.Response.WriteAsync("hello"),
            setup => setup.Listen = listen =>
            {
                listen.UseConnectionLogging("wire");
                if (tls)
                {
                    listen.UseHttps(TestCertificate.Instance);
                }
            });
        Assert.Equal("hello", await host.CreateClient(tls: tls).GetStringAsync(Root).InTime());
        await Eventually.True(() => host.Logs.Entries.Any(entry =>
            entry.Category == "wire" && entry.Message.Contains("WriteAsync", StringComparison.Ordinal)));
        Assert.Contains(host.Logs.Entries, entry =>
            entry.Category == "wire" && entry.Message.Contains("ReadAsync", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Https_HostStops_NoMemoryBlockIsLeft()
    {
        TrackingMemoryPoolFactory memory;
        await using (HostHarness host = await HostHarness.StartAsync(
            kind,
            context => context.Response.WriteAsync("hello"),
            setup =>
            {
                setup.Transport.TrackMemory = true;
                setup.Listen = listen => listen.UseHttps(TestCertificate.Instance);
            }))
        {
            memory = host.Memory;
            Assert.Equal("hello", await host.CreateClient(tls: true).GetStringAsync(Root).InTime());
            Assert.Equal(
                "hello", await host.CreateClient(HttpVersion.Version20, tls: true).GetStringAsync(Root).InTime());
            await host.ConnectAsync();
            Assert.True(memory.Rented > 0);
        }

        await Eventually.True(() => memory.BlocksOut == 0, () => $"{memory.BlocksOut} blocks out");
    }

    private static Uri Root { get; } = new("/", UriKind.Relative);

    private Task<HostHarness> StartHello() => HostHarness.StartAsync(
        kind,
        context => context.Response.WriteAsync("hello"),
        setup => setup.Listen = listen => listen.UseHttps(TestCertificate.Instance));
}
