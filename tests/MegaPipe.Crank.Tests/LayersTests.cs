// What crank/layer-cost measures: each layer's responder answers what it is asked, on more than one connection.
namespace MegaPipe.Crank.Tests;

public sealed class LayersTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData("binding")]
    [InlineData("standard-pipes")]
    [InlineData("own-pipes")]
    public async Task Layer_RequestsOnKeptAndNewConnections_AreAnswered(string layer)
    {
        int port = AgentFolder.GetFreePort();
        using RunProcess server = RunProcess.Start(
            Path.Combine(Repository.Layers, "MegaPipe.Layers"), $"{layer} {port}", Repository.Root, "Listening.");
        await server.WaitUntilReadyAsync(s_limit);
        for (int connection = 0; connection < 3; connection++)
        {
            using HttpClient client = new() { Timeout = s_limit };
            for (int request = 0; request < 3; request++)
            {
                Assert.Equal("Hello, World!", await client.GetStringAsync(new Uri($"http://127.0.0.1:{port}/")));
            }
        }
    }

    [Fact]
    public async Task UnknownLayer_IsNamedAndStatus2()
    {
        using RunProcess server = RunProcess.Start(
            Path.Combine(Repository.Layers, "MegaPipe.Layers"), "sockets 5000", Repository.Root);
        Assert.Equal(2, await server.WaitForExitAsync(s_limit));
        Assert.Contains("sockets: not a layer", server.Output, StringComparison.Ordinal);
    }
}
