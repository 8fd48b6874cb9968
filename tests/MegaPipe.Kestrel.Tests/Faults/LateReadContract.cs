// Whoever still reads what he was given, while everything around him ends, reads the right bytes; and lives.
using System.Globalization;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Faults;

public abstract class LateReadContract(TransportKind kind)
{
    private const int ReadsOfAnOrder = 6;
    private const int OrdersOfFourSteps = 24;

    public static TheoryData<string> FirstSteps => [.. LateReader.Steps];

    [Theory]
    [MemberData(nameof(FirstSteps))]
    public async Task LateRead_AfterEveryOrderOfEnds_GivesTheBytesThatWereReceived(string first)
    {
        await using ChildProcess child = await ChildProcess.StartAsync(LateReader.Command, $"{kind}", first);
        Assert.Equal(
            (ReadsOfAnOrder * OrdersOfFourSteps).ToString(CultureInfo.InvariantCulture), child.Answer);
    }

    [Fact]
    public async Task LateRead_HandlerOutlivesItsHost_GivesTheBytesThatWereReceived()
    {
        if (kind == TransportKind.MegaPipeInline)
        {
            return; // documented: a handler that blocks stops its channel, and with it the host's end
        }

        await using ChildProcess child = await ChildProcess.StartAsync(LateReader.Command, $"{kind}", LateReader.Host);
        Assert.Equal("True", child.Answer);
    }
}
