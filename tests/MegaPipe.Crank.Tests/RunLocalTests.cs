// The local runner: what it writes, and that it refuses measurements that would not be honest.
using System.Net;
using System.Net.Sockets;
using System.Text.Json;

namespace MegaPipe.Crank.Tests;

public sealed class RunLocalTests(AgentFolder folder) : IClassFixture<AgentFolder>
{
    private const int PortsOfTwoTargets = 4; // run-local's PORTS_PER_TARGET each

    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);

    [RunLocalFact]
    public async Task RunLocal_OneScenario_WritesWhatCrankCompareReads()
    {
        string results = Path.Combine(folder.Path, "results");
        (int exitCode, string text) = await RunAsync(
            AgentFolder.GetFreePorts(PortsOfTwoTargets),
            "--scenario json --rounds 2 --warmup-visits 0 --settle 1 --settle-limit 4 --target sockets "
            + $"--target sockets-inline --output {results}");
        // 3: on one CPU, or a busy machine, the generator may be the bottleneck; what is written is the same.
        Assert.True(exitCode is 0 or 3, text);

        using JsonDocument report = JsonDocument.Parse(
            await File.ReadAllTextAsync(Path.Combine(results, "results.json")));
        JsonElement targets = report.RootElement.GetProperty("scenarios")[0].GetProperty("targets");
        Assert.Equal(
            ["sockets", "sockets-inline"], targets.EnumerateArray().Select(t => t.GetProperty("name").GetString()));
        Assert.All(targets.EnumerateArray(), target => Assert.Equal(2, target.GetProperty("rounds").GetArrayLength()));
        Assert.Equal(1, targets[0].GetProperty("summary").GetProperty("cpuRatio").GetProperty("median").GetDouble());

        using JsonDocument crank = JsonDocument.Parse(
            await File.ReadAllTextAsync(Path.Combine(results, "crank", "json.sockets-inline.json")));
        JsonElement jobs = crank.RootElement.GetProperty("jobResults").GetProperty("jobs");
        foreach (string name in new[] { "application", "load" })
        {
            JsonElement job = jobs.GetProperty(name);
            foreach (JsonElement metadata in job.GetProperty("metadata").EnumerateArray())
            {
                // The comparer takes every result that has a format for a number.
                JsonElement value = job.GetProperty("results").GetProperty(metadata.GetProperty("name").GetString()!);
                bool hasFormat = metadata.GetProperty("format").GetString() != "";
                Assert.Equal(hasFormat ? JsonValueKind.Number : JsonValueKind.String, value.ValueKind);
            }
        }

        // Where crank itself has them, or a comparison of the two shows zeros.
        JsonElement application = jobs.GetProperty("application").GetProperty("results");
        Assert.Equal(
            ["benchmarks/cpu", "benchmarks/cpu/raw", "benchmarks/working-set"],
            application.EnumerateObject().Select(result => result.Name));
        Assert.Equal(
            application.GetProperty("benchmarks/cpu/raw").GetDouble() / Environment.ProcessorCount,
            application.GetProperty("benchmarks/cpu").GetDouble(), tolerance: 0.01);
        JsonElement load = jobs.GetProperty("load").GetProperty("results");
        string[] expected =
        [
            "http/requests", "http/rps/mean", "http/latency/99", "http/throughput", "http/firstrequest", "load/cpu",
            "transport/served", "transport/process", "benchmarks/cpu-us-per-request",
        ];
        Assert.All(expected, name => Assert.True(load.TryGetProperty(name, out _), name));
        Assert.Equal("sockets-inline", load.GetProperty("transport/served").GetString());

        string table = await File.ReadAllTextAsync(Path.Combine(results, "results.md"));
        // Settled or not, the reader is told.
        Assert.Matches("State: [0-2] of 2 targets were settled while measured", table);
        Assert.All(targets.EnumerateArray(), target =>
        {
            JsonElement steady = target.GetProperty("steady");
            Assert.InRange(steady.GetProperty("secondsOfSettling").GetInt32(), 1, 4);
            Assert.True(steady.GetProperty("compiledBefore").GetInt64() > 0);
            bool flagged = target.GetProperty("flags").EnumerateArray().Any(
                flag => flag.GetString()!.StartsWith("NOT SETTLED", StringComparison.Ordinal));
            Assert.NotEqual(flagged, steady.GetProperty("settled").GetBoolean());
        });
        Assert.Contains("| json | sockets |", table, StringComparison.Ordinal);
    }

    [RunLocalFact]
    public async Task RunLocal_PortIsServed_StopsAndSaysSo()
    {
        using TcpListener other = new(IPAddress.Loopback, 0);
        other.Start();
        int port = ((IPEndPoint)other.LocalEndpoint).Port;
        (int exitCode, string text) = await RunAsync(port, "--scenario json --rounds 1 --target sockets");
        Assert.Equal(1, exitCode);
        Assert.Contains($"port {port} is already served", text, StringComparison.Ordinal);
    }

    [RunLocalFact]
    public async Task RunLocal_FaultyAnswers_ExitWith3()
    {
        string results = Path.Combine(folder.Path, "faulty");
        (int exitCode, string text) = await RunAsync(
            AgentFolder.GetFreePorts(PortsOfTwoTargets),
            "--scenario json --rounds 1 --warmup-visits 0 --settle 0 --target sockets --variable path=/nothing-here "
            + $"--output {results}");
        Assert.Equal(3, exitCode);
        Assert.Contains("FAULTS", text, StringComparison.Ordinal);
    }

    [RunLocalFact]
    public async Task RunLocal_UnknownScenario_ListsTheKnownOnes()
    {
        (int exitCode, string text) = await RunAsync(AgentFolder.GetFreePorts(1), "--scenario no-such-scenario");
        Assert.Equal(2, exitCode);
        Assert.All(CrankConfiguration.Load().Scenarios, name => Assert.Contains(name, text, StringComparison.Ordinal));
    }

    private async Task<(int ExitCode, string Text)> RunAsync(int port, string arguments)
    {
        string cpu = (await File.ReadAllTextAsync("/sys/devices/system/cpu/online")).Trim();
        using RunProcess process = RunProcess.Start(
            Path.Combine(Repository.Crank, "run-local"),
            $"--no-build --artifacts {folder.Artifacts} --base-port {port} --server-cpus {cpu} --load-cpus {cpu} "
            + arguments,
            folder.Path);
        int exitCode = await process.WaitForExitAsync(s_limit);
        return (exitCode, process.Output);
    }
}
