// The transport on this machine, each way to steer in turn, in interleaved rounds.
using System.Diagnostics;
using System.Globalization;

namespace MegaPipe.Balance;

internal static class Measurement
{
    private const int Channels = 4;
    private const int EqualConnections = 2_000;
    private const int SkewedClients = 64;
    private const int LongLivedConnections = 64;
    private const int EqualUs = 20;
    private const int SkewedUs = 200;
    private const int WaitingMs = 1;
    private const string Kinds = "skewed: µs of CPU; waiting: ms that block the channel, and 50 µs of CPU for each";
    private const int HangMs = 10_000;

    /// <summary>A new connection every so many milliseconds while a channel is stuck.</summary>
    private const int PaceMs = 20;

    private static readonly TimeSpan s_settle = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan s_time = TimeSpan.FromSeconds(6);

    /// <summary>Sixteen light connections leave their channel half of its time.</summary>
    private static readonly TimeSpan s_pause = TimeSpan.FromMilliseconds(40);

    private static readonly string[] s_staysAndMoves = ["false", "true"];

    private static readonly (string Path, string Scheduling)[] s_longLived =
    [
        ($"waiting/{WaitingMs}", "Inline"), ($"skewed/{SkewedUs}", "Adaptive"), ($"spin/{EqualUs}", "Adaptive"),
    ];

    private static readonly string[] s_ways = ["Hash", "Balanced"];

    /// <param name="args">measure [equal|skewed|skewed-cpu|longlived|hung] [ROUNDS] [OPTION=VALUE ...]</param>
    public static async Task<int> RunAsync(string[] args)
    {
        string what = args.Length > 1 ? args[1] : "all";
        int rounds = args.Length > 2 ? int.Parse(args[2], CultureInfo.InvariantCulture) : 3;
        string[] options = args.Length > 3 ? args[3..] : [];
        bool met = true;
        if (what is "all" or "equal")
        {
            met &= await EqualAsync(rounds, options);
        }

        if (what is "all" or "skewed")
        {
            met &= await SkewedAsync(rounds, "Inline", $"waiting/{WaitingMs}", options);
        }

        if (what is "all" or "skewed-cpu")
        {
            await SkewedAsync(rounds, "Inline", $"skewed/{SkewedUs}", options);
            await SkewedAsync(rounds, "Adaptive", $"skewed/{SkewedUs}", options);
        }

        if (what is "all" or "longlived")
        {
            await LongLivedAsync(rounds, options);
        }

        if (what is "all" or "hung")
        {
            met &= await HungAsync(options);
        }

        return met ? 0 : 1;
    }

    /// <summary>Kept connections with equal work: how evenly the channels have them.</summary>
    private static async Task<bool> EqualAsync(int rounds, string[] options)
    {
        Console.WriteLine($"{EqualConnections:N0} kept connections, {Channels} channels, {EqualUs} µs a request:");
        double worst = 0;
        for (int round = 0; round < rounds; round++)
        {
            foreach (string way in s_ways)
            {
                await using Child server = await Child.StartAsync(way, "Adaptive", options);
                Dictionary<string, long>[] before = await server.Client.StatusAsync();
                Load load = await server.Client.AskKeptAsync($"/spin/{EqualUs}", EqualConnections, s_time);
                Dictionary<string, long>[] after = await server.Client.StatusAsync();
                double[] requests =
                [
                    .. after.Select((channel, i) => (double)(Runs(channel) - Runs(before[i]))),
                ];
                double imbalance = requests.Max() / requests.Average();
                worst = way == "Hash" ? worst : Math.Max(worst, imbalance);
                Console.WriteLine(
                    $"  {way,-9} {load.PerSecond,9:N0} requests/s   busiest {imbalance:F3} of the mean   "
                    + $"99 % within {load.P99Ms:F1} ms   failed {load.Failed}   {Told(after)}");
            }
        }

        return Say("the busiest has at most 1.1 times the mean", worst <= 1.1);
    }

    /// <summary>What hashes to channel 0 costs 20 times as much, a connection per request.</summary>
    private static async Task<bool> SkewedAsync(int rounds, string scheduling, string path, string[] options)
    {
        Console.WriteLine(
            $"{SkewedClients} clients, a connection per request, /{path} ({Kinds}), 20 times as much where the "
            + $"connection hashes to channel 0, {scheduling}:");
        List<double> rates = [];
        List<double> tails = [];
        for (int round = 0; round < rounds; round++)
        {
            Load? hash = null;
            foreach (string way in s_ways)
            {
                await using Child server = await Child.StartAsync(way, scheduling, options);
                await server.Client.AskAnewAsync($"/{path}", SkewedClients, s_settle);
                Load load = await server.Client.AskAnewAsync($"/{path}", SkewedClients, s_time);
                Console.WriteLine(
                    $"  {way,-9} {load.PerSecond,9:N0} requests/s   half within {load.P50Ms:F1} ms, 99 % within "
                    + $"{load.P99Ms:F1} ms   failed {load.Failed}   {Told(await server.Client.StatusAsync())}");
                if (hash is null)
                {
                    hash = load;
                }
                else
                {
                    rates.Add(load.PerSecond / hash.PerSecond);
                    tails.Add(load.P99Ms / hash.P99Ms);
                }
            }
        }

        Console.WriteLine($"  of Hash: {Range(rates)} of the throughput, {Range(tails)} of the 99th percentile");
        return Say("at least 1.5 times the throughput", Median(rates) >= 1.5) &
            Say("at most half the 99th percentile", Median(tails) <= 0.5);
    }

    /// <summary>
    /// Kept connections, of which those of channel 0 cost 20 times as much: where they stay and where they move.
    /// </summary>
    private static async Task LongLivedAsync(int rounds, string[] options)
    {
        foreach ((string path, string scheduling) in s_longLived)
        {
            Console.WriteLine($"{LongLivedConnections} kept connections, /{path} ({Kinds}), {scheduling}:");
            List<double> rates = [];
            List<double> tails = [];
            for (int round = 0; round < rounds; round++)
            {
                Load? staying = null;
                foreach (string moves in s_staysAndMoves)
                {
                    await using Child server = await Child.StartAsync(
                        "Balanced", scheduling, [$"MigrateConnections={moves}", .. options]);
                    Load load = await server.Client.AskKeptAsync(
                        $"/{path}", LongLivedConnections, s_settle + s_time, s_settle, s_pause);
                    Console.WriteLine(
                        $"  {(staying is null ? "staying" : "moving"),-9} {load.PerSecond,9:N0} requests/s   half "
                        + $"within {load.P50Ms:F1} ms, 99 % within {load.P99Ms:F1} ms   failed {load.Failed}   "
                        + Told(await server.Client.StatusAsync()));
                    if (staying is null)
                    {
                        staying = load;
                    }
                    else
                    {
                        rates.Add(load.PerSecond / staying.PerSecond);
                        tails.Add(load.P99Ms / staying.P99Ms);
                    }
                }
            }

            Console.WriteLine(
                $"  of staying: {Range(rates)} of the throughput, {Range(tails)} of the 99th percentile");
        }
    }

    /// <summary>One handler blocks its channel; a client connects every few milliseconds.</summary>
    private static async Task<bool> HungAsync(string[] options)
    {
        Console.WriteLine($"one handler blocks for {HangMs / 1_000} s, a new connection every {PaceMs} ms, Inline:");
        double worst = 0;
        foreach (string way in s_ways)
        {
            await using Child server = await Child.StartAsync(way, "Inline", options);
            await server.Client.GetAsync("/spin/1");
            Task blocked = server.Client.GetAsync($"/block/{HangMs}");
            List<Task<double>> asked = [];
            for (long start = Stopwatch.GetTimestamp();
                Stopwatch.GetElapsedTime(start).TotalMilliseconds < HangMs - 500;)
            {
                asked.Add(Task.Run(async () =>
                {
                    long began = Stopwatch.GetTimestamp();
                    await server.Client.GetAsync("/spin/1");
                    return Stopwatch.GetElapsedTime(began).TotalMilliseconds;
                }));
                await Task.Delay(PaceMs);
            }

            double[] waits = [.. (await Task.WhenAll(asked)).Order()];
            await blocked;
            worst = waits[^1];
            Console.WriteLine(
                $"  {way,-9} {waits.Length} connections; the longest waited {worst:F0} ms, "
                + $"{waits.Count(wait => wait > 250)} longer than 250 ms   {Told(await server.Client.StatusAsync())}");
        }

        return Say("nobody waits longer than 250 ms", worst <= 250);
    }

    private static long Runs(Dictionary<string, long> channel) => channel["inline"] + channel["offloaded"];

    private static string Told(Dictionary<string, long>[] channels) =>
        $"groups {string.Join('/', channels.Select(channel => channel["groups"]))} "
        + $"stolen {channels.Sum(channel => channel["steals_in"])} "
        + $"migrated {channels.Sum(channel => channel["migrations"])} "
        + $"moved {channels.Sum(channel => channel["moves_in"])}";

    private static bool Say(string aim, bool met)
    {
        Console.WriteLine($"  {(met ? "met" : "MISSED")}: {aim}");
        return met;
    }

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    private static string Range(List<double> values) =>
        $"{Median(values):F2} ({values.Min():F2} to {values.Max():F2})";

    /// <summary>A server of this program, in a process of its own.</summary>
    private sealed class Child : IAsyncDisposable
    {
        private readonly Process _process;

        private Child(Process process, int port)
        {
            _process = process;
            Client = new Client(port);
        }

        public Client Client { get; }

        public static async Task<Child> StartAsync(string steering, string scheduling, string[] options)
        {
            ProcessStartInfo start = new(Environment.ProcessPath!)
            {
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
            };
            foreach (string argument in (string[])["serve", steering, scheduling, $"Channels={Channels}", .. options])
            {
                start.ArgumentList.Add(argument);
            }

            Process process = Process.Start(start)!;
            string? port = await process.StandardOutput.ReadLineAsync();
            if (port is null)
            {
                await process.WaitForExitAsync();
                throw new InvalidOperationException($"The server ended with status {process.ExitCode}.");
            }

            return new Child(process, int.Parse(port, CultureInfo.InvariantCulture));
        }

        public async ValueTask DisposeAsync()
        {
            _process.StandardInput.Close();
            using CancellationTokenSource late = new(TimeSpan.FromSeconds(15));
            try
            {
                await _process.WaitForExitAsync(late.Token);
            }
            catch (OperationCanceledException)
            {
                _process.Kill();
            }

            _process.Dispose();
        }
    }
}
