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
        JsonElement round = await folder.RunOneRoundAsync("proxy", "proxy", Ports);
        Assert.Equal("sockets", round.GetProperty("served").GetString());
        Assert.Equal(0, round.GetProperty("badResponses").GetInt64());
        Assert.True(round.GetProperty("requests").GetInt64() > 0);
    }
}
