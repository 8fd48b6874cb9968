// Runs each scenario's executables for about a second, with the arguments that crank would give them.
using System.Globalization;
using System.Text.Json;
using Xunit.Abstractions;

namespace MegaPipe.Crank.Tests;

public sealed class ScenarioTests(AgentFolder folder, ITestOutputHelper output) : IClassFixture<AgentFolder>
{
    // Opening ten thousand connections is a benchmark, not a test.
    private const int MaxConnections = 1_000;
    private static readonly TimeSpan s_startLimit = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan s_loadLimit = TimeSpan.FromMinutes(1);
    private static readonly CrankConfiguration s_configuration = CrankConfiguration.Load();

    [LoadJobTheory("wrk")]
    [MemberData(nameof(ScenariosOf), "wrk")]
    public Task Wrk_OneSecond_PublishesRequests(string scenario) => RunScenarioAsync(scenario);

    [LoadJobTheory("h2load")]
    [MemberData(nameof(ScenariosOf), "h2load")]
    public Task H2Load_OneSecond_PublishesRequests(string scenario) => RunScenarioAsync(scenario);

    [LoadJobTheory("cc", "make")]
    [MemberData(nameof(ScenariosOf), "mp-load")]
    public Task MpLoad_OneSecond_PublishesRequests(string scenario) => RunScenarioAsync(scenario);

    [LoadJobTheory("wrk")]
    [InlineData("sockets")]
    [InlineData("sockets-inline")]
    public Task ApplicationJob_Replaced_IsTheTransportThatServes(string job) => RunScenarioAsync("json", job);

    [LoadJobTheory("h2load")]
    [InlineData("h2")]
    public Task H2Load_ApplicationOptionsGiven_StillServesH2(string scenario) =>
        RunScenarioAsync(scenario, "sockets", ("applicationOptions", "--Logging:LogLevel:Default Warning"));

    [LoadJobTheory("wrk")]
    [InlineData("/nothing-here")]
    public async Task LoadJob_NotFoundAnswers_AreCountedAsBad(string path)
    {
        Dictionary<string, JsonElement> values =
            await RunScenarioAsync("json", "sockets", ("path", path), expectBad: true);
        Assert.Equal(values["http/requests"].GetInt64(), values["http/requests/badresponses"].GetInt64());
    }

    [LoadJobTheory("wrk")]
    [InlineData("json")]
    public async Task LoadJob_NobodyServes_FailsWithoutBlock(string scenario)
    {
        int port = AgentFolder.GetFreePort();
        ResolvedJob load = CrankConfiguration.Resolve(scenario, "load", ["local"], Variables(port, port, "64"));
        using RunProcess process = RunProcess.Start(folder.Executable(load.Executable), load.Arguments, folder.Path);
        Assert.Equal(1, await process.WaitForExitAsync(s_loadLimit));
        Assert.DoesNotContain("#StartJobStatistics", process.Output, StringComparison.Ordinal);
        Assert.Contains("does not say which transport serves", process.Output, StringComparison.Ordinal);
    }

    public static TheoryData<string> ScenariosOf(string load) =>
        [.. s_configuration.Scenarios.Where(scenario =>
            CrankConfiguration.Text(s_configuration.Section("scenarios")[scenario]["load"]["job"]) == load)];

    private static Dictionary<string, string> Variables(int port, int h2cPort, string connections) => new()
    {
        ["serverPort"] = port.ToString(CultureInfo.InvariantCulture),
        ["h2cPort"] = h2cPort.ToString(CultureInfo.InvariantCulture),
        ["duration"] = "1",
        ["warmup"] = "0",
        ["connections"] = connections,
        // Not the profile's two CPUs: this machine may have one.
        ["serverCpus"] = "0-1023",
        ["loadCpus"] = "0-1023",
    };

    private async Task<Dictionary<string, JsonElement>> RunScenarioAsync(
        string scenario, string? job = null, (string Name, string Value)? extra = null, bool expectBad = false)
    {
        if (job is null)
        {
            // The scenario's own job, unless this kernel has no io_uring: then stock Sockets serves there, and a load
            // job rightly refuses to call it MegaPipe.
            (string transport, string reason) = await folder.GetMegaPipeAsync();
            job = transport == "megapipe" ? "megapipe" : "sockets";
            output.WriteLine($"application job: {job} ({transport} serves for megapipe; {reason})");
        }

        int port = AgentFolder.GetFreePort(), h2cPort = AgentFolder.GetFreePort();
        string asked = CrankConfiguration.Resolve(scenario, "load", ["local"], new Dictionary<string, string>())
            .Variables["connections"].ToString();
        int connections = Math.Min(int.Parse(asked, CultureInfo.InvariantCulture), MaxConnections);
        Dictionary<string, string> variables =
            Variables(port, h2cPort, connections.ToString(CultureInfo.InvariantCulture));
        if (extra is (string name, string value))
        {
            variables[name] = value;
        }

        ResolvedJob application = CrankConfiguration.Resolve(scenario, "application", ["local"], variables, job);
        ResolvedJob load = CrankConfiguration.Resolve(scenario, "load", ["local"], variables);
        if (load.Name is "mp-load")
        {
            await folder.EnsureGeneratorsAsync();
        }

        using RunProcess app = RunProcess.Start(
            folder.Executable(application.Executable), application.Arguments, folder.Path, application.ReadyText);
        await app.WaitUntilReadyAsync(s_startLimit);
        using RunProcess run = RunProcess.Start(folder.Executable(load.Executable), load.Arguments, folder.Path);
        int exitCode = await run.WaitForExitAsync(s_loadLimit);
        Assert.True(exitCode == 0, $"{load.Executable} {load.Arguments}\n{run.Output}\n{app.Output}");

        Dictionary<string, JsonElement> values = Statistics.Parse(run.Output);
        Assert.True(values["http/requests"].GetInt64() > 0);
        Assert.True(values["http/rps/mean"].GetDouble() > 0);
        Assert.True(values["http/latency/mean"].GetDouble() > 0);
        Assert.True(values["benchmarks/cpu-us-per-request"].GetDouble() > 0);
        Assert.Equal(job, values["transport/served"].GetString());
        // taskset becomes the application: what is measured by process id is the application.
        // Not the bare number: crank would print it as 19,298.00.
        Assert.Equal($"pid {app.Id}", values["transport/process"].GetString());
        if (!expectBad)
        {
            Assert.Equal(0, values["http/requests/badresponses"].GetInt64());
        }

        return values;
    }
}
