// The gateway: the sample as it is, and the runner's scenarios with a backend.
using System.Text.Json;

namespace MegaPipe.Crank.Tests;

public sealed class ProxyTests(AgentFolder folder) : IClassFixture<AgentFolder>
{
    private const int Ports = 3; // a target's two, and the backend's

    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);

    [Fact]
    public async Task Start_AsItIs_YarpAndHttpClientReachTheBackendBesideIt()
    {
        int backend = AgentFolder.GetFreePort(), port = AgentFolder.GetFreePort();
        using RunProcess app = RunProcess.Start(
            Path.Combine(Repository.Proxy, "Proxy"),
            $"--urls http://127.0.0.1:{port} " +
            $"--ReverseProxy:Clusters:backend:Destinations:only:Address http://127.0.0.1:{backend}",
            Repository.Proxy, "Application started.");
        await app.WaitUntilReadyAsync(s_limit);
        using HttpClient client = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        Assert.Equal("Hello, World!", await client.GetStringAsync("/plaintext"));
        Assert.Equal("Hello, World!", await client.GetStringAsync("/call/plaintext"));
        (string transport, _) = await folder.GetMegaPipeAsync();
        using JsonDocument report = JsonDocument.Parse(await client.GetStringAsync("/transport"));
        Assert.Equal(transport, report.RootElement.GetProperty("transport").GetString());
        long connected = report.RootElement.GetProperty("channels").EnumerateArray().Sum(
            channel => channel.GetProperty("counters").GetProperty("connected").GetInt64());
        Assert.Equal(transport == "megapipe", connected > 0);
    }

    [RunLocalFact]
    public async Task RunLocal_Proxy_AnswersComeThroughTheGateway()
    {
        await folder.EnsureGeneratorsAsync();
        string results = Path.Combine(folder.Path, "proxied");
        string cpu = (await File.ReadAllTextAsync("/sys/devices/system/cpu/online")).Trim();
        using RunProcess process = RunProcess.Start(
            Path.Combine(Repository.Crank, "run-local"),
            $"--no-build --artifacts {folder.Artifacts} --base-port {AgentFolder.GetFreePorts(Ports)} " +
            $"--server-cpus {cpu} --load-cpus {cpu} --config proxy.benchmarks.yml --scenario proxy --rounds 1 " +
            $"--warmup-visits 0 --settle 0 --target sockets --output {results}",
            folder.Path);
        int exitCode = await process.WaitForExitAsync(s_limit);
        Assert.True(exitCode is 0 or 3, process.Output); // 3: the generator was the bottleneck
        using JsonDocument report = JsonDocument.Parse(
            await File.ReadAllTextAsync(Path.Combine(results, "results.json")));
        JsonElement round =
            report.RootElement.GetProperty("scenarios")[0].GetProperty("targets")[0].GetProperty("rounds")[0];
        Assert.Equal("sockets", round.GetProperty("served").GetString());
        Assert.Equal(0, round.GetProperty("badResponses").GetInt64());
        Assert.True(round.GetProperty("requests").GetInt64() > 0);
    }
}
