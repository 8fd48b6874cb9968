// The commands beside run-local that share its runner: each starts its servers, measures, ends them and reports.
using System.Text.Json;

namespace MegaPipe.Crank.Tests;

public sealed class RunnerCommandsTests(AgentFolder folder) : IClassFixture<AgentFolder>
{
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);

    [LoadJobTheory("cc", "make")]
    [InlineData("epoll-reuseport")]
    public async Task Ablation_Quick_WritesRowsOfEveryVariantAndPlainTables(string variant)
    {
        await folder.EnsureGeneratorsAsync();
        string results = Path.Combine(folder.Path, "ablation");
        int port = AgentFolder.GetFreePorts(2);
        using RunProcess process = RunProcess.Start(
            Path.Combine(Repository.Crank, "ablation"),
            $"--quick --variants epoll-shared,{variant} --base-port {port} --output {results}", folder.Path);
        Assert.True(await process.WaitForExitAsync(s_limit) == 0, process.Output);
        using JsonDocument report = JsonDocument.Parse(
            await File.ReadAllTextAsync(Path.Combine(results, "ablation.json")));
        JsonElement[] rows = [.. report.RootElement.GetProperty("rows").EnumerateArray()];
        HashSet<(int, string)> measured = [.. rows.Select(row => (
            row.GetProperty("transactions_per_connection").GetInt32(), row.GetProperty("variant").GetString()!))];
        Assert.Equal(6, rows.Length);
        foreach (int count in new[] { 1, 8, 128 })
        {
            Assert.Contains((count, "epoll-shared"), measured);
            Assert.Contains((count, variant), measured);
        }

        Assert.All(rows, row => Assert.True(row.GetProperty("server_cpu_us_per_request").GetDouble() > 0));
        Assert.Contains($"| {variant} |", process.Output, StringComparison.Ordinal);
        Assert.Contains("Gain in transactions per CPU time over", process.Output, StringComparison.Ordinal);
    }

    [LoadJobTheory("wrk")]
    [InlineData("sockets")]
    public async Task ColdStart_TwoSeconds_SaysWhatTheFirstOnesCost(string transport)
    {
        (JsonDocument report, string output) = await MeasureAsync(
            "cold-start",
            $"--scenario json --target {transport} --seconds 2 --starts 1 --base-port {AgentFolder.GetFreePorts(2)}",
            "cold.json");
        using JsonDocument _ = report;
        JsonElement found =
            report.RootElement.GetProperty("scenarios")[0].GetProperty("targets").GetProperty(transport);
        JsonElement visits = found.GetProperty("starts")[0];
        Assert.Equal(2, visits.GetArrayLength());
        Assert.All(visits.EnumerateArray(), visit => Assert.True(visit.GetProperty("compiled").GetInt64() > 0));
        Assert.True(found.GetProperty("summary").GetProperty("first")[0].GetDouble() > 0);
        Assert.Contains($"| json | {transport} |", output, StringComparison.Ordinal);
    }

    [LoadJobTheory("cc", "make")]
    [InlineData("sockets")]
    public async Task ManyConnections_AFew_StayOpenWhileTheyAreMeasured(string transport)
    {
        await folder.EnsureGeneratorsAsync();
        (JsonDocument report, string output) = await MeasureAsync(
            "many-connections", $"--target {transport} --target floor -c 8 -c 4 --rounds 1 --settle 0", "many.json");
        using JsonDocument _ = report;
        JsonElement[] runs = [.. report.RootElement.GetProperty("runs").EnumerateArray()];
        Assert.Equal([4, 8], runs.Select(run => run.GetProperty("connections").GetInt32()));
        JsonElement[] targets = [.. runs.SelectMany(run => run.GetProperty("targets").EnumerateArray())];
        Assert.Equal([transport, "floor", transport, "floor"], targets.Select(t => t.GetProperty("name").GetString()));
        Assert.All(targets.SelectMany(target => target.GetProperty("rounds").EnumerateArray()), round =>
        {
            Assert.True(round.GetProperty("requests").GetInt64() > 0);
            Assert.Equal(0, round.GetProperty("connectionsOpened").GetInt64());
        });
        Assert.Matches($"{transport} +[0-9.]+ \\[", output);
    }

    [LoadJobTheory]
    [InlineData("short")]
    [InlineData("none")]
    public async Task BlockedWait_FewHandlers_SaysHowLongOthersWaited(string before)
    {
        using RunProcess process = RunProcess.Start(
            Path.Combine(Repository.Crank, "blocked-wait"),
            $"--transport sockets --blocked 2 --path /block/100 --rounds 1 --before {before} "
            + $"--artifacts {folder.Artifacts}",
            folder.Path);
        Assert.True(await process.WaitForExitAsync(s_limit) == 0, process.Output);
        Assert.Matches($"sockets +before {before} +longest wait +[0-9.]+ ms on open", process.Output);
    }

    [LoadJobTheory]
    [InlineData("sockets")]
    public async Task BlockedWait_NothingBuilt_SaysWhatBuildsIt(string transport)
    {
        using RunProcess process = RunProcess.Start(
            Path.Combine(Repository.Crank, "blocked-wait"), $"--transport {transport} --artifacts nowhere",
            folder.Path);
        Assert.Equal(1, await process.WaitForExitAsync(s_limit));
        Assert.Contains("nowhere/webapp/WebApp does not exist: crank/prepare builds it", process.Output);
    }

    /// <summary>What a command says of its measurement, which server and load share all CPUs for.</summary>
    private async Task<(JsonDocument Report, string Output)> MeasureAsync(
        string command, string arguments, string reportName)
    {
        string results = Path.Combine(folder.Path, command);
        string cpus = (await File.ReadAllTextAsync("/sys/devices/system/cpu/online")).Trim();
        using RunProcess process = RunProcess.Start(
            Path.Combine(Repository.Crank, command),
            $"{arguments} --server-cpus {cpus} --load-cpus {cpus} --artifacts {folder.Artifacts} --output {results}",
            folder.Path);
        Assert.True(await process.WaitForExitAsync(s_limit) == 0, process.Output);
        return (JsonDocument.Parse(await File.ReadAllTextAsync(Path.Combine(results, reportName))), process.Output);
    }
}
