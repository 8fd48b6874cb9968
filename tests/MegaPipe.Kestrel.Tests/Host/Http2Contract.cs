// HTTP/2 in clear and under TLS: streams at once, trailers, two-way streaming, cancelled streams.
using System.Net;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class Http2Contract(TransportKind kind)
{
    [Theory]
    [InlineData("h2c")]
    [InlineData("h2")]
    public async Task Streams_ManyAtOnce_OneConnectionAndEachItsAnswer(string protocol)
    {
        const int Streams = 80;
        HashSet<string> ids = [];
        await using HostHarness host = await Start(protocol, async context =>
        {
            lock (ids)
            {
                ids.Add(context.Features
                    .GetRequiredFeature<Microsoft.AspNetCore.Connections.Features.IConnectionIdFeature>()
                    .ConnectionId);
            }

            await Task.Yield();
            await context.Response.WriteAsync($"{context.Request.Protocol} {context.Request.Path}");
        });
        HttpClient client = host.CreateClient(HttpVersion.Version20, protocol == "h2");
        await client.GetStringAsync(new Uri("/warm", UriKind.Relative)).InTime();
        string[] answers = await Task.WhenAll(Enumerable.Range(0, Streams)
            .Select(i => client.GetStringAsync(new Uri($"/{i}", UriKind.Relative)))).InTime();
        for (int i = 0; i < Streams; i++)
        {
            Assert.Equal($"HTTP/2 /{i}", answers[i]);
        }

        Assert.Single(ids);
    }

    [Theory]
    [InlineData("h2c")]
    [InlineData("h2")]
    public async Task TwoWayStreaming_MessageByMessage_EachAnsweredBeforeTheNextThenTrailers(string protocol)
    {
        const int Messages = 50;
        await using HostHarness host = await Start(protocol, async context =>
        {
            context.Response.DeclareTrailer("grpc-status");
            await context.Response.StartAsync();
            await context.Response.Body.FlushAsync();
            byte[] buffer = new byte[1024];
            int read;
            while ((read = await context.Request.Body.ReadAsync(buffer)) > 0)
            {
                await context.Response.Body.WriteAsync(buffer.AsMemory(0, read));
                await context.Response.Body.FlushAsync();
            }

            context.Response.AppendTrailer("grpc-status", "0");
        });
        HttpClient client = host.CreateClient(HttpVersion.Version20, protocol == "h2");
        StreamedContent content = new();
        using HttpRequestMessage request = new(HttpMethod.Post, "/")
        {
            Content = content,
            Version = HttpVersion.Version20,
            VersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        using HttpResponseMessage response =
            await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead).InTime();
        Stream up = await content.Stream.InTime();
        Stream down = await response.Content.ReadAsStreamAsync();
        byte[] answer = new byte[9];
        for (int i = 0; i < Messages; i++)
        {
            byte[] message = System.Text.Encoding.ASCII.GetBytes($"message{i:D2}");
            await up.WriteAsync(message).InTime();
            await up.FlushAsync().InTime();
            await down.ReadExactlyAsync(answer).AsTask().InTime();
            Assert.Equal(message, answer);
        }

        content.Finish();
        Assert.Equal(0, await down.ReadAsync(answer).InTime());
        Assert.Equal("0", Assert.Single(response.TrailingHeaders.GetValues("grpc-status")));
    }

    [Theory]
    [InlineData("h2c")]
    [InlineData("h2")]
    public async Task Stream_CanceledByClient_RequestAbortedAndOthersGoOn(string protocol)
    {
        TaskCompletionSource aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await Start(protocol, async context =>
        {
            if (context.Request.Path == "/wait")
            {
                entered.SetResult();
                await context.RequestAborted.WaitForCancellation().InTime();
                aborted.SetResult();
            }
            else
            {
                await context.Response.WriteAsync("other");
            }
        });
        HttpClient client = host.CreateClient(HttpVersion.Version20, protocol == "h2");
        using CancellationTokenSource cancel = new();
        Task<HttpResponseMessage> waiting = client.GetAsync(new Uri("/wait", UriKind.Relative), cancel.Token);
        await entered.Task.InTime();
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting.InTime());
        await aborted.Task.InTime();
        Assert.Equal("other", await client.GetStringAsync(new Uri("/", UriKind.Relative)).InTime());
    }

    [Fact]
    public async Task Http1AndHttp2_SameTlsEndPoint_AlpnDecides()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            context => context.Response.WriteAsync(context.Request.Protocol),
            setup => setup.Listen = listen =>
                Microsoft.AspNetCore.Hosting.ListenOptionsHttpsExtensions.UseHttps(listen, TestCertificate.Instance));
        Uri root = new("/", UriKind.Relative);
        Assert.Equal("HTTP/1.1", await host.CreateClient(tls: true).GetStringAsync(root).InTime());
        Assert.Equal(
            "HTTP/2", await host.CreateClient(HttpVersion.Version20, tls: true).GetStringAsync(root).InTime());
    }

    private Task<HostHarness> Start(string protocol, RequestDelegate handler) =>
        HostHarness.StartAsync(kind, handler, setup => setup.Listen = listen => Protocols.Configure(listen, protocol));
}
