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
            Path.Combine(Repository.Layers, "MegaPipe.Layers"), $"{layer} {port}", Repository.Root);
        Uri address = new($"http://127.0.0.1:{port}/");
        using CancellationTokenSource limit = new(s_limit);
        for (int connection = 0; connection < 3; connection++)
        {
            using HttpClient client = new();
            for (int request = 0; request < 3; request++)
            {
                Assert.Equal("Hello, World!", await GetAsync(client, address, limit.Token));
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

    /// <summary>Asks again until the server listens.</summary>
    private static async Task<string> GetAsync(HttpClient client, Uri address, CancellationToken limit)
    {
        while (true)
        {
            try
            {
                return await client.GetStringAsync(address, limit);
            }
            catch (HttpRequestException error) when (error.HttpRequestError == HttpRequestError.ConnectionError)
            {
                await Task.Delay(50, limit);
            }
        }
    }
}
