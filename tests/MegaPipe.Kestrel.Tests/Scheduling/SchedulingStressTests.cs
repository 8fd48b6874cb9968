// Everything that a handler can do to its carrier, mixed by a seed, on many connections at once.
using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class SchedulingStressTests(ITestOutputHelper output)
{
    private const int Connections = 24;
    private const int Batches = 25;
    private const int MaxBatch = 6;

    private static readonly string[] s_kinds =
    [
        "quick", "quick", "quick", "quick", "sleep", "spin", "throw", "throw-later", "self", "delay", "echo", "many",
    ];

    private readonly ConcurrentDictionary<string, int> _handled = new();
    private readonly ConcurrentDictionary<string, TaskCompletionSource> _met = new();
    private readonly int[] _inside = new int[Connections];
    private HttpClient? _self;
    private int _overlaps;
    private int _alone;

    [Theory]
    [InlineData(1, 100, 101)]
    [InlineData(1, 2000, 102)]
    [InlineData(2, 100, 103)]
    [InlineData(2, 2000, 104)]
    public Task Adaptive_HandlersThatDoEverything_NothingIsLostDoubledOrReordered(
        int channels, int handOverAfterUs, int seed) => RunAsync(channels, handOverAfterUs, seed);

    [Theory]
    [InlineData(1, 201)]
    [InlineData(2, 202)]
    public async Task Adaptive_CarriersEndAndStartMeanwhile_NothingIsLostDoubledOrReordered(int channels, int seed)
    {
        TimeSpan idleTime = CarrierPool.Instance.IdleTime;
        int endedBefore = Ended();
        CarrierPool.Instance.IdleTime = TimeSpan.FromMilliseconds(1);
        try
        {
            await RunAsync(channels, handOverAfterUs: 500, seed);
        }
        finally
        {
            CarrierPool.Instance.IdleTime = idleTime;
        }

        output.WriteLine($"{Ended() - endedBefore} carriers ended");
        Assert.InRange(Ended() - endedBefore, 3, int.MaxValue);

        static int Ended() => CarrierPool.Instance.StartedCount - CarrierPool.Instance.LiveCount;
    }

    private async Task RunAsync(int channels, int handOverAfterUs, int seed)
    {
        output.WriteLine($"seed {seed}");
        long handOvers = CarrierWatcher.Instance.HandOverCount;
        await using (HostHarness host = await SchedulingHost.StartAsync(
            Handle,
            options =>
            {
                options.Channels = channels;
                options.HandOverAfter = TimeSpan.FromMicroseconds(handOverAfterUs);
            },
            setup: host => host.Kestrel = options => options.Limits.MinRequestBodyDataRate = null))
        {
            _self = host.CreateClient();
            await Task.WhenAll(Enumerable.Range(0, Connections).Select(i => RunClientAsync(host, i, seed)));
            output.WriteLine($"{CarrierWatcher.Instance.HandOverCount - handOvers} hand-overs, "
                + $"{LeakCheck.Sum(host.Status, "offloaded")} offloaded, "
                + $"{LeakCheck.Sum(host.Status, "inline")} inline");
            Assert.True(CarrierWatcher.Instance.HandOverCount > handOvers);
            Assert.True(LeakCheck.Sum(host.Status, "offloaded") > 0);
            Assert.True(LeakCheck.Sum(host.Status, "inline") > 0);
        }

        Assert.Equal(0, _overlaps);
        Assert.Equal(0, _alone);
        Assert.All(_handled, request => Assert.Equal(1, request.Value));
    }

    /// <summary>Batches of pipelined requests; each answer says which request it is for.</summary>
    private async Task RunClientAsync(HostHarness host, int connection, int seed)
    {
        Random random = new((seed * 1000) + connection);
        HttpPeer peer = await host.ConnectPeerAsync();
        int number = 0;
        for (int batch = 0; batch < Batches; batch++)
        {
            StringBuilder requests = new();
            List<(int Status, string Body)> expected = [];
            int count = random.Next(1, MaxBatch + 1);
            for (int i = 0; i < count; i++, number++)
            {
                string kind = s_kinds[random.Next(s_kinds.Length)];
                Add(kind, $"/{kind}/{connection}/{number}");
            }

            if (batch % 5 == 0)
            {
                // Connections 2n and 2n+1 wait for each other: the same number of times and in the same order.
                Add("meet", $"/meet/{connection}/{number++}?pair={connection / 2}&round={batch}");
            }

            await peer.SendAsync(requests.ToString());
            foreach ((int status, string body) in expected)
            {
                (int actualStatus, string actualBody) = await peer.ReceiveAsync();
                Assert.Equal($"{status} {body}", $"{actualStatus} {actualBody}");
            }

            void Add(string kind, string path)
            {
                string body = kind == "echo" ? new string((char)('a' + random.Next(26)), random.Next(20_000)) : "";
                requests.Append(CultureInfo.InvariantCulture,
                    $"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {body.Length}\r\n\r\n{body}");
                string answer = path.Split('?')[0];
                expected.Add(kind.StartsWith("throw", StringComparison.Ordinal) ? (500, "") : (200, answer + body));
            }
        }

        Assert.Equal(number, _handled.Keys.Count(key => key.Split('/')[2] == $"{connection}"));
    }

    private async Task Handle(HttpContext context)
    {
        string path = context.Request.Path.Value!;
        string[] parts = path.Split('/');
        if (parts[1] == "inner")
        {
            await context.Answer(path);
            return;
        }

        _handled.AddOrUpdate(path, 1, (_, count) => count + 1);
        int connection = int.Parse(parts[2], CultureInfo.InvariantCulture);
        if (Interlocked.Increment(ref _inside[connection]) != 1)
        {
            Interlocked.Increment(ref _overlaps);
        }

        try
        {
            await context.Answer(path + await DoAsync(context, parts[1]));
        }
        finally
        {
            Interlocked.Decrement(ref _inside[connection]);
        }
    }

    private async Task<string> DoAsync(HttpContext context, string kind)
    {
        switch (kind)
        {
            case "sleep":
                Thread.Sleep(3);
                return "";
            case "spin":
                long end = Environment.TickCount64 + 3;
                while (Environment.TickCount64 < end)
                {
                }

                return "";
            case "throw":
                throw new InvalidOperationException("on purpose");
            case "throw-later":
                await Task.Yield();
                throw new InvalidOperationException("on purpose");
            case "self":
                string answer = _self!.GetStringAsync(new Uri("/inner", UriKind.Relative)).GetAwaiter().GetResult();
                Assert.Equal("/inner", answer);
                return "";
            case "delay":
                await Task.Delay(1);
                return "";
            case "many":
                for (int i = 0; i < 5; i++)
                {
                    await Task.Yield();
                }

                return "";
            case "meet":
                Meet(context.Request.QueryString.Value!);
                return "";
            case "echo":
                using (StreamReader reader = new(context.Request.Body))
                {
                    return await reader.ReadToEndAsync();
                }

            default:
                return "";
        }
    }

    /// <summary>Blocks until the other connection of the pair has come here, too.</summary>
    private void Meet(string where)
    {
        TaskCompletionSource mine = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource first = _met.GetOrAdd(where, mine);
        if (!ReferenceEquals(first, mine))
        {
            first.SetResult();
        }
        else if (!first.Task.Wait(InTimeExtensions.Limit))
        {
            Interlocked.Increment(ref _alone);
        }
    }
}
