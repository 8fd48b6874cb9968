// Many connections and large bodies. In small by default; tests/outgoing/run runs them at full size.
using System.IO.Pipelines;
using System.Text;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Connecting;

[Trait("Area", "OutgoingScale")]
public sealed class OutgoingScaleTests
{
    private static readonly bool s_full = Environment.GetEnvironmentVariable("OUTGOING_SCALE") == "full";
    private static readonly int s_connections = s_full ? 10_000 : 300;
    private static readonly long s_bytes = s_full ? 1L << 30 : 32L << 20;

    /// <summary>What a process may grow by while a body passes through it that is much larger.</summary>
    private const long MemoryLimit = 256L << 20;

    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(s_full ? 10 : 1);

    [Fact]
    public async Task Connections_ManyOpenAtATime_EachIsAnswered()
    {
        await using HostHarness backend = await SchedulingHost.StartAsync(
            context => context.Answer("Hello"), kind: TransportKind.MegaPipeLwsocketAlways);
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
        byte[] request = Encoding.ASCII.GetBytes(HttpPeer.Get("/"));
        ConnectionContext[] open = new ConnectionContext[s_connections];
        using SemaphoreSlim atATime = new(100); // the backend's queue holds 512
        await Task.WhenAll(Enumerable.Range(0, open.Length).Select(async i =>
        {
            await atATime.WaitAsync();
            open[i] = await harness.ConnectAsync(backend.EndPoint);
            await AskAsync(open[i], request);
            atATime.Release();
        })).InTime(limit: s_limit);
        Assert.Equal(open.Length, LeakCheck.Sum(harness.Status, "connections"));
        await Task.WhenAll(open.Select(connection => AskAsync(connection, request))).InTime(limit: s_limit);
        await Task.WhenAll(open.Select(connection => connection.DisposeAsync().AsTask())).InTime(limit: s_limit);
        await Eventually.True(() => LeakCheck.Sum(harness.Status, "connections") == 0);
    }

    /// <summary>The client, then the backend is the slow one: it pauses after each part of a hundred.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task LargeBody_OneEndIsSlow_ArrivesAndMemoryIsBounded(bool download)
    {
        await using HostHarness backend = await HostHarness.StartAsync(
            TransportKind.Sockets,
            async context =>
            {
                if (download)
                {
                    context.Response.ContentLength = s_bytes;
                    await WriteAsync(context.Response.Body);
                }
                else
                {
                    long read = await ReadSlowlyAsync(context.Request.Body);
                    await context.Answer(read.ToString(default(IFormatProvider)));
                }
            },
            setup => setup.Kestrel = options => options.Limits.MaxRequestBodySize = null);
        await using HostHarness gateway = await SchedulingHost.StartAsync(
            async context =>
            {
                using HttpRequestMessage request =
                    new(download ? HttpMethod.Get : HttpMethod.Post, backend.BaseAddress);
                request.Content = download ? null : new StreamContent(context.Request.Body);
                using HttpResponseMessage response = await context.RequestServices
                    .GetRequiredService<IHttpClientFactory>().CreateClient("backend")
                    .SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
                context.Response.ContentLength = response.Content.Headers.ContentLength;
                await response.Content.CopyToAsync(context.Response.Body);
            },
            setup: setup =>
            {
                setup.Kestrel = options => options.Limits.MaxRequestBodySize = null;
                Action<IServiceCollection>? services = setup.Services;
                setup.Services = collection =>
                {
                    services?.Invoke(collection);
                    collection.AddHttpClient("backend", client => client.Timeout = Timeout.InfiniteTimeSpan)
                        .UseMegaPipe();
                };
            });
        HttpClient client = gateway.CreateClient();
        client.Timeout = Timeout.InfiniteTimeSpan;
        long before = Environment.WorkingSet;
        long peak = before;
        using CancellationTokenSource done = new();
        Task watching = Task.Run(async () =>
        {
            while (!done.IsCancellationRequested)
            {
                peak = Math.Max(peak, Environment.WorkingSet);
                await Task.Delay(20);
            }
        });
        if (download)
        {
            using HttpResponseMessage response =
                await client.GetAsync("/", HttpCompletionOption.ResponseHeadersRead).InTime(limit: s_limit);
            await using Stream body = await response.Content.ReadAsStreamAsync();
            Assert.Equal(s_bytes, await ReadSlowlyAsync(body).InTime(limit: s_limit));
        }
        else
        {
            using StreamedContent content = new();
            using HttpRequestMessage request = new(HttpMethod.Post, "/") { Content = content };
            Task<HttpResponseMessage> answer = client.SendAsync(request);
            await WriteAsync(await content.Stream.InTime()).InTime(limit: s_limit);
            content.Finish();
            using HttpResponseMessage response = await answer.InTime(limit: s_limit);
            Assert.Equal(
                s_bytes.ToString(default(IFormatProvider)), await response.Content.ReadAsStringAsync().InTime());
        }

        await done.CancelAsync();
        await watching;
        Assert.True(peak - before < MemoryLimit, $"grew by {(peak - before) >> 20} MiB");
    }

    private static async Task AskAsync(ConnectionContext connection, byte[] request)
    {
        await connection.Transport.Output.WriteAsync(request);
        ReadResult result = await connection.Transport.Input.ReadAsync();
        while (!Encoding.ASCII.GetString(result.Buffer).EndsWith("Hello", StringComparison.Ordinal))
        {
            Assert.False(result.IsCompleted);
            connection.Transport.Input.AdvanceTo(result.Buffer.Start, result.Buffer.End);
            result = await connection.Transport.Input.ReadAsync();
        }

        connection.Transport.Input.AdvanceTo(result.Buffer.End);
    }

    private static async Task WriteAsync(Stream body)
    {
        byte[] chunk = new byte[256 * 1024];
        for (long written = 0; written < s_bytes; written += chunk.Length)
        {
            await body.WriteAsync(chunk);
        }

        await body.FlushAsync();
    }

    private static async Task<long> ReadSlowlyAsync(Stream body)
    {
        byte[] buffer = new byte[64 * 1024];
        long read = 0;
        long pauseAt = 0;
        while (await body.ReadAsync(buffer) is > 0 and { } count)
        {
            read += count;
            if (read >= pauseAt)
            {
                pauseAt += s_bytes / 100;
                await Task.Delay(5);
            }
        }

        return read;
    }
}
