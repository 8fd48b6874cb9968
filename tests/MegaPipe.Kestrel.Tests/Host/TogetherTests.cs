// Every option at once, clients that do whatever clients do, and a collector that moves all memory which is not pinned.
using System.Net;
using System.Net.Sockets;
using System.Net.WebSockets;
using System.Runtime;
using System.Security.Cryptography;
using MegaPipe.Kestrel.Tests.Connecting;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Host;

/// <summary>
/// Each body is checked by its hash, in both directions. Run by hand, since it loads the machine for seconds at the
/// least: TOGETHER_SECONDS=300 TOGETHER_SEED=7
/// dotnet test tests/MegaPipe.Kestrel.Tests -c Release --filter FullyQualifiedName~TogetherTests
/// </summary>
[Trait("Area", "Together")]
public sealed class TogetherTests(ITestOutputHelper output)
{
    /// <summary>Of what a client may do: each begins with another one.</summary>
    private const int Kinds = 9;

    private const int Workers = 9;
    private const string HashHeader = "x-hash";

    private static readonly double s_seconds = Number("TOGETHER_SECONDS") ?? 0;
    private static readonly int s_seed = (int)(Number("TOGETHER_SEED") ?? 1);

    [AskedForTheory]
    [InlineData(TransportKind.Sockets)]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeInline)]
    [InlineData(TransportKind.MegaPipeThreadPool)]
    public async Task EverythingOn_MemoryMoves_EveryByteOnceAndNothingLeft(TransportKind kind)
    {
        await using HostHarness host = await StartAsync(kind);
        await using ConnectHarness outgoing = ConnectHarness.Create(kind, settings => settings.MegaPipe = Configure);
        Clients clients = new(
            host, outgoing.CreateClient(HttpVersion.Version11), outgoing.CreateClient(HttpVersion.Version20));
        using (new MovingMemory())
        {
            long end = Environment.TickCount64 + (long)(s_seconds * 1000);
            IEnumerable<Task> workers = Enumerable.Range(0, Workers).Select(worker => Task.Run(async () =>
            {
                int seed = (s_seed * 1000) + worker, done = 0;
                Random random = new(seed);
                do
                {
                    int kind = done == 0 ? worker : random.Next(Kinds);
                    try
                    {
                        await clients.ActAsync(kind, random);
                    }
                    catch (Exception error)
                    {
                        throw new InvalidOperationException($"seed {seed}, step {done}, kind {kind}: {error}", error);
                    }

                    done++;
                }
                while (Environment.TickCount64 < end);
            }));
            await Task.WhenAll(workers);
        }

        output.WriteLine($"half-closed: {clients.Whole} whole answers, {clients.Cut} cut");
        if (kind.IsMegaPipe() && MegaPipeFeatures.Has(Feature.ZeroCopy))
        {
            Assert.NotEqual(0, LeakCheck.Sum(host.Status, "zero_copies"));
        }
    }

    private static void Configure(MegaPipeTransportOptions options)
    {
        options.Channels = 2;
        options.ReceiveBufferCount = 64;
        options.ReceiveBufferSize = 2048;
        options.ZeroCopyThreshold = 3000;
        options.ZeroCopyAlways = true;
        options.Profile = MegaPipeProfile.Latency;
    }

    private static Task<HostHarness> StartAsync(TransportKind kind) => HostHarness.StartAsync(
        kind, AnswerAsync, setup =>
        {
            setup.QuietLogs = true;
            setup.App = app => app.UseWebSockets();
            setup.Transport.MegaPipe = options =>
            {
                Configure(options);
                options.MigrateConnections = true;
                options.MovesAtEachLook = true;
                options.Steering = MegaPipeSteering.Balanced;
                options.DeferAccept = TimeSpan.FromSeconds(1);
            };
            setup.Kestrel = options =>
            {
                options.Limits.MinRequestBodyDataRate = null;
                options.Limits.MinResponseDataRate = null;
            };
            setup.Endpoints = options =>
            {
                options.Listen(IPAddress.Loopback, 0);
                options.Listen(IPAddress.Loopback, 0, listen =>
                {
                    listen.Protocols = HttpProtocols.Http1AndHttp2;
                    listen.UseHttps(TestCertificate.Instance);
                });
            };
        });

    /// <summary>/BYTES/SEED answers with a body, /echo with what it gets, /socket as a WebSocket.</summary>
    private static async Task AnswerAsync(HttpContext context)
    {
        string[] path = context.Request.Path.Value!.Split('/');
        byte[] buffer = new byte[10_000];
        if (path[1] == "socket")
        {
            using WebSocket socket = await context.WebSockets.AcceptWebSocketAsync();
            while (await socket.ReceiveAsync(buffer, default) is { MessageType: WebSocketMessageType.Binary } got)
            {
                await socket.SendAsync(
                    buffer.AsMemory(0, got.Count), WebSocketMessageType.Binary, got.EndOfMessage, default);
            }

            await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, default);
        }
        else if (path[1] == "echo")
        {
            for (int got; (got = await context.Request.Body.ReadAsync(buffer)) > 0;)
            {
                await context.Response.Body.WriteAsync(buffer.AsMemory(0, got));
            }
        }
        else
        {
            byte[] body = Client.Pattern(int.Parse(path[1]), int.Parse(path[2]));
            context.Response.ContentLength = body.Length;
            context.Response.Headers[HashHeader] = Convert.ToHexString(SHA256.HashData(body));
            Random random = new(body.Length);
            for (int at = 0, part; at < body.Length; at += part)
            {
                part = Math.Min(body.Length - at, random.Next(1, 100_000));
                await context.Response.Body.WriteAsync(body.AsMemory(at, part));
            }
        }
    }

    private static double? Number(string variable) =>
        double.TryParse(Environment.GetEnvironmentVariable(variable), out double number) ? number : null;

    private sealed class Clients(HostHarness host, HttpClient one, HttpClient two)
    {
        private readonly Uri _plain = new(host.Addresses.Single(address => address.StartsWith("http:")));
        private readonly Uri _tls = new(host.Addresses.Single(address => address.StartsWith("https:")));
        private int _whole;
        private int _cut;

        /// <summary>Answers that a client got whole after it had shut its sending side down.</summary>
        public int Whole => _whole;

        /// <summary>The others: stock, too, gives up somewhere in the answer.</summary>
        public int Cut => _cut;

        public Task ActAsync(int kind, Random random)
        {
            (HttpClient client, Uri address) = random.Next(3) switch
            {
                0 => (one, _plain),
                1 => (one, _tls),
                _ => (two, _tls),
            };
            return kind switch
            {
                0 or 1 => DownloadAsync(client, address, random, leaves: false),
                2 => DownloadAsync(client, address, random, leaves: true),
                3 => CancelAsync(client, address, random),
                4 or 5 => EchoAsync(client, address, random),
                6 => SocketAsync(random),
                7 => HalfCloseAsync(random),
                _ => ResetAsync(random),
            };
        }

        private static string Body(Random random) => $"/{random.Next(1, 400_000)}/{random.Next()}";

        private static async Task DownloadAsync(HttpClient client, Uri address, Random random, bool leaves)
        {
            using HttpResponseMessage response = await client.GetAsync(
                new Uri(address, Body(random)), HttpCompletionOption.ResponseHeadersRead).InTime();
            using Stream stream = await response.Content.ReadAsStreamAsync();
            long left = leaves ? random.Next(100_000) : long.MaxValue;
            using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            int slow = random.Next(4) == 0 ? 20 : 0;
            while (left > 0)
            {
                byte[] buffer = new byte[random.Next(3) == 0 ? random.Next(1, 3000) : random.Next(17_000, 70_000)];
                int bytes = await stream.ReadAsync(buffer).InTime();
                if (bytes == 0)
                {
                    break;
                }

                hash.AppendData(buffer, 0, bytes);
                left -= bytes;
                if (slow-- > 0)
                {
                    await Task.Delay(1);
                }
            }

            if (!leaves)
            {
                Assert.Equal(
                    response.Headers.GetValues(HashHeader).Single(), Convert.ToHexString(hash.GetHashAndReset()));
            }
        }

        private static async Task CancelAsync(HttpClient client, Uri address, Random random)
        {
            using CancellationTokenSource cancel = new(random.Next(10));
            try
            {
                using HttpResponseMessage response = await client.GetAsync(
                    new Uri(address, Body(random)), cancel.Token).InTime();
                Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            }
            catch (OperationCanceledException)
            {
            }
        }

        private static async Task EchoAsync(HttpClient client, Uri address, Random random)
        {
            byte[] body = Client.Pattern(random.Next(1, 200_000), random.Next());
            using HttpResponseMessage response = await client.PostAsync(
                new Uri(address, "/echo"), new ByteArrayContent(body)).InTime();
            byte[] echo = await response.Content.ReadAsByteArrayAsync().InTime();
            Assert.True(body.AsSpan().SequenceEqual(echo), $"{echo.Length} of {body.Length} bytes");
        }

        private async Task SocketAsync(Random random)
        {
            using ClientWebSocket socket = new();
            await socket.ConnectAsync(
                new Uri($"ws://{_plain.Authority}/socket"), one, CancellationToken.None).InTime();
            for (int i = random.Next(1, 4); i > 0; i--)
            {
                byte[] message = Client.Pattern(random.Next(1, 60_000), random.Next());
                await socket.SendAsync(message, WebSocketMessageType.Binary, true, default).InTime();
                byte[] echo = new byte[message.Length];
                for (int got = 0; got < echo.Length;)
                {
                    got += (await socket.ReceiveAsync(echo.AsMemory(got), default).InTime()).Count;
                }

                Assert.Equal(message, echo);
            }

            await socket.CloseAsync(WebSocketCloseStatus.NormalClosure, null, default).InTime();
        }

        private async Task HalfCloseAsync(Random random)
        {
            using Socket socket = await ConnectAsync(random);
            int bytes = random.Next(1, 100_000), seed = random.Next();
            await socket.SendAllAsync($"GET /{bytes}/{seed} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            socket.Shutdown(SocketShutdown.Send);
            // Kestrel gives up who has shut down, at some point of the answer: what comes is right all the same.
            byte[] answer = await ReceiveAsync(socket).InTime();
            int end = answer.AsSpan().IndexOf("\r\n\r\n"u8);
            byte[] body = end < 0 ? [] : answer[(end + 4)..];
            Assert.True(
                Client.Pattern(bytes, seed).AsSpan().StartsWith(body),
                $"{answer.Length} bytes, of the body {body.Length} of {bytes}");
            Interlocked.Increment(ref body.Length == bytes ? ref _whole : ref _cut);
        }

        private static async Task<byte[]> ReceiveAsync(Socket socket)
        {
            MemoryStream received = new();
            byte[] buffer = new byte[5000];
            try
            {
                for (int bytes; (bytes = await socket.ReceiveAsync(buffer)) > 0;)
                {
                    received.Write(buffer, 0, bytes);
                }
            }
            catch (SocketException)
            {
            }

            return received.ToArray();
        }

        private async Task ResetAsync(Random random)
        {
            using Socket socket = await ConnectAsync(random);
            string request = $"GET {Body(random)} HTTP/1.1\r\nHost: a\r\n\r\n";
            await socket.SendAllAsync(request[..random.Next(1, request.Length + 1)]);
            if (random.Next(2) == 0)
            {
                await Task.Delay(random.Next(3));
            }

            socket.Reset();
        }

        private async Task<Socket> ConnectAsync(Random random)
        {
            IPEndPoint target = new(IPAddress.Loopback, _plain.Port);
            Socket socket = Client.Create(target);
            // Into a window of a few KiB the kernel sends what it does not copy at 10 KB/s over loopback.
            socket.ReceiveBufferSize = random.Next(2) == 0 ? 1 << 14 : 1 << 18;
            await socket.ConnectAsync(target).InTime();
            return socket;
        }
    }

    private sealed class AskedForTheoryAttribute : TheoryAttribute
    {
        public AskedForTheoryAttribute() => Skip = s_seconds > 0 ? null : "Asked for by TOGETHER_SECONDS.";
    }

    /// <summary>Collects and compacts all the time, beside garbage that leaves holes.</summary>
    private sealed class MovingMemory : IDisposable
    {
        private readonly Thread _thread;
        private volatile bool _stopped;

        public MovingMemory()
        {
            _thread = new Thread(Run) { IsBackground = true, Name = "moves memory" };
            _thread.Start();
        }

        public void Dispose()
        {
            _stopped = true;
            _thread.Join();
        }

        private void Run()
        {
            Random random = new(3);
            while (!_stopped)
            {
                for (int i = 0; i < 200; i++)
                {
                    GC.KeepAlive(new byte[random.Next(10, 20_000)]);
                }

                GCSettings.LargeObjectHeapCompactionMode = GCLargeObjectHeapCompactionMode.CompactOnce;
                GC.Collect(
                    random.Next(3) == 0 ? GC.MaxGeneration : 1, GCCollectionMode.Forced, blocking: true,
                    compacting: true);
                Thread.Sleep(2);
            }
        }
    }
}
