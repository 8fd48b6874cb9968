// What connections that do nothing ask of the kernel: of ten thousand of them a request each is measurable.
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Transport;

[Trait("Transport", "MegaPipe"), Trait("Area", "IdleMemory")]
public sealed class IdleRequestTests
{
    private const int Connections = 64;

    /// <summary>The read, and the poll for the end, made a quarter of a second later (ends.c).</summary>
    private const int InFlight = 2;

    /// <summary>These two, accepting the next connection, and closing this one.</summary>
    private const int Requests = 4;

    /// <summary>For accepts in vain: half of what one more for each connection would be.</summary>
    private const int Spare = Connections / 2;

    [Fact]
    public async Task Connection_ThatDoesNothing_CostsFourRequestsInItsLife()
    {
        await using TransportHarness harness = TransportHarness.Create(
            TransportKind.MegaPipe, settings => settings.MegaPipe = options => options.Channels = 1);
        IConnectionListener listener = await harness.BindAsync();
        await (await harness.ConnectAsync(listener)).Server.DisposeAsync();
        await Eventually.True(() => Counter("connections") == 0);
        long waiting = Counter("operations_in_flight");
        long requests = Counter("requests");
        long wakes = Counter("wakes"); // a kernel before 6.13 polls an eventfd for each

        List<ConnectedPair> pairs = [];
        for (int i = 0; i < Connections; i++)
        {
            pairs.Add(await harness.ConnectAsync(listener));
        }

        await Eventually.True(
            () => Counter("operations_in_flight") - waiting >= InFlight * Connections,
            () => $"{Counter("operations_in_flight")} in flight, {waiting} before");
        Assert.InRange(Counter("operations_in_flight") - waiting, 1, (InFlight * Connections) + Spare);

        pairs.ForEach(pair => pair.Client.Dispose());
        // Read and poll both find the end: nothing is left to cancel. All accepts may have been made again meanwhile.
        await Eventually.True(
            () => Counter("operations_in_flight") <= waiting + ListenerPartition.Outstanding,
            () => $"{Counter("operations_in_flight")} in flight, {waiting} before");
        foreach (ConnectedPair pair in pairs)
        {
            await pair.Server.DisposeAsync();
        }

        // Without those of the last call, which counts them when it comes back.
        await Eventually.True(() => Counter("connections") == 0);
        long made = Counter("requests") - requests;
        Assert.InRange(made, (Requests - 1) * Connections, (Requests * Connections) + Spare + Counter("wakes") - wakes);

        long Counter(string name) => harness.Status!.GetChannels().Sum(channel => channel.Counters[name]);
    }
}
