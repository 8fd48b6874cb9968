// The runner's scenarios of gRPC: each call is one that the sample answers.
using System.Text.Json;

namespace MegaPipe.Crank.Tests;

public sealed class GrpcTests(AgentFolder folder) : IClassFixture<AgentFolder>
{
    private const int Ports = 2;

    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);

    [RunLocalFact]
    public async Task RunLocal_Stream_EachCallBringsItsMessages()
    {
        await folder.EnsureGeneratorsAsync();
        string results = Path.Combine(folder.Path, "called");
        string cpu = (await File.ReadAllTextAsync("/sys/devices/system/cpu/online")).Trim();
        using RunProcess process = RunProcess.Start(
            Path.Combine(Repository.Crank, "run-local"),
            $"--no-build --artifacts {folder.Artifacts} --base-port {AgentFolder.GetFreePorts(Ports)} " +
            $"--server-cpus {cpu} --load-cpus {cpu} --config grpc.benchmarks.yml --scenario grpc-stream --rounds 1 " +
            $"--warmup-visits 0 --settle 0 --target sockets --output {results}",
            folder.Path);
        int exitCode = await process.WaitForExitAsync(s_limit);
        Assert.True(exitCode is 0 or 3, process.Output); // 3: the generator was the bottleneck
        using JsonDocument report = JsonDocument.Parse(
            await File.ReadAllTextAsync(Path.Combine(results, "results.json")));
        JsonElement round =
            report.RootElement.GetProperty("scenarios")[0].GetProperty("targets")[0].GetProperty("rounds")[0];
        Assert.Equal(0, round.GetProperty("badResponses").GetInt64());
        double calls = round.GetProperty("requests").GetInt64();
        Assert.True(calls > 0);

        // A call that fails is a 200, too, but brings no messages: a hundred of nine bytes each. Half of that leaves
        // room for the calls under way at the end, and for what h2load takes for a megabyte.
        double bytes = round.GetProperty("throughputMBs").GetDouble() * 1e6 * round.GetProperty("seconds").GetDouble();
        Assert.True(bytes / calls > 450, $"{bytes / calls} bytes a call");
    }
}
