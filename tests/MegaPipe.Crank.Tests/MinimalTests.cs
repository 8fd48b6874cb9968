// The sample that a user copies: it starts with its own appsettings.json, serves, and says what serves.
using MegaPipe.Kestrel.Tests.Configuration;

namespace MegaPipe.Crank.Tests;

public sealed class MinimalTests(AgentFolder folder) : IClassFixture<AgentFolder>
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    [Fact]
    public async Task Start_AsItIs_ServesThroughMegaPipe()
    {
        (string transport, _) = await folder.GetMegaPipeAsync();
        string output = await ServeAsync(transport, start => start());
        if (transport == "megapipe")
        {
            Assert.Contains("MegaPipe serves with", output, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Start_IoUringDenied_ServesThroughSockets()
    {
        string output = await ServeAsync(
            "sockets", start => SeccompFilter.RunRefused(SeccompFilter.Eperm, start));
        Assert.Contains("the Sockets transport serves instead", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_IoUringDeniedAndFallbackIsFail_StopsAndSaysWhy()
    {
        RunProcess app = null!;
        SeccompFilter.RunRefused(SeccompFilter.Eperm, () => app = Start("--MegaPipe:Fallback Fail"));
        using (app)
        {
            Assert.NotEqual(0, await app.WaitForExitAsync(s_limit));
            Assert.Contains("MegaPipe:Fallback is Fail", app.Output, StringComparison.Ordinal);
        }
    }

    /// <summary>Starts the sample, asks it, ends it; what it wrote.</summary>
    private static async Task<string> ServeAsync(string transport, Action<Action> run)
    {
        int port = AgentFolder.GetFreePort();
        RunProcess? started = null;
        run(() => started = Start($"--urls http://127.0.0.1:{port}"));
        using RunProcess app = started!;
        await app.WaitUntilReadyAsync(s_limit);
        using HttpClient client = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        Assert.Equal("Hello, World!", await client.GetStringAsync("/"));
        Assert.Equal(transport, await client.GetStringAsync("/transport"));
        return app.Output;
    }

    private static RunProcess Start(string arguments) => RunProcess.Start(
        Path.Combine(Repository.Minimal, "Minimal"), arguments, Repository.Minimal, "Application started.");
}
