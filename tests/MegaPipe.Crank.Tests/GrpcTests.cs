// The runner's scenarios of gRPC: each call is one that the sample answers.
using System.Text.Json;

namespace MegaPipe.Crank.Tests;

public sealed class GrpcTests(AgentFolder folder) : IClassFixture<AgentFolder>
{
    private const int Ports = 2;

    [RunLocalFact]
    public async Task RunLocal_Stream_EachCallBringsItsMessages()
    {
        JsonElement round = await folder.RunOneRoundAsync("grpc", "grpc-stream", Ports);
        Assert.Equal(0, round.GetProperty("badResponses").GetInt64());
        double calls = round.GetProperty("requests").GetInt64();
        Assert.True(calls > 0);

        // A call that fails is a 200, too, but brings no messages: a hundred of nine bytes each. Half of that leaves
        // room for the calls under way at the end, and for what h2load takes for a megabyte.
        double bytes = round.GetProperty("throughputMBs").GetDouble() * 1e6 * round.GetProperty("seconds").GetDouble();
        Assert.True(bytes / calls > 450, $"{bytes / calls} bytes a call");
    }
}
