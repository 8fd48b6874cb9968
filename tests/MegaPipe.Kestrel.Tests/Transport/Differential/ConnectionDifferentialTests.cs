// Random lives of a connection on the stock transport and on ours. A failure prints its seed and the shortest sequence
// found that shows it; CsCheck_Seed=<seed> in the environment repeats it, CsCheck_Iter runs more.
using CsCheck;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Transport.Differential;

[Trait("Area", "ConnectionDifferential")]
public sealed class ConnectionDifferentialTests(ITestOutputHelper output)
{
    private const int Sequences = 400;

    /// <summary>
    /// How often stock lives a sequence again when ours came to something else: where both ends race, it has more than
    /// one outcome of its own, and ours must be one of them.
    /// </summary>
    private const int Repeats = 20;

    private static long Iterations =>
        Environment.GetEnvironmentVariable("CsCheck_Iter") is null ? Sequences : Check.Iter;

    [Theory]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeThreadPool)]
    [InlineData(TransportKind.MegaPipeInline)]
    [InlineData(TransportKind.MegaPipeSmallBuffers)]
    [InlineData(TransportKind.MegaPipeMoving)]
    public async Task Connection_AnyLife_OutcomesOfStock(TransportKind kind)
    {
        await using Side stock = await Side.CreateAsync(TransportKind.Sockets);
        await using Side subject = await Side.CreateAsync(kind);
        await Task.Run(() => ConnectionStep.Sequences.Sample(
            steps =>
            {
                string expected = stock.Live(steps);
                string actual = subject.Live(steps);
                HashSet<string> allowed = [expected];
                for (int i = 0; i < Repeats && !allowed.Contains(actual); i++)
                {
                    allowed.Add(stock.Live(steps));
                }

                string line = Environment.NewLine;
                Assert.True(allowed.Contains(actual),
                    $"{kind}:{line}{actual}{line}stock:{line}{string.Join($"{line}or{line}", allowed)}");
            },
            output.WriteLine, iter: Iterations, threads: 1,
            print: steps => string.Join(Environment.NewLine, steps.Select(step => step.ToString()))));
    }

    /// <summary>A transport with one listener, and a new connection for each life.</summary>
    private sealed class Side(TransportHarness harness, IConnectionListener listener) : IAsyncDisposable
    {
        public static async Task<Side> CreateAsync(TransportKind kind)
        {
            TransportHarness harness = TransportHarness.Create(kind);
            return new Side(harness, await harness.BindAsync());
        }

        public string Live(ConnectionStep[] steps) => LiveAsync(steps).GetAwaiter().GetResult();

        public ValueTask DisposeAsync() => harness.DisposeAsync();

        private async Task<string> LiveAsync(ConnectionStep[] steps)
        {
            using Socket peer = Client.Create(listener.EndPoint);
            await peer.ConnectAsync(listener.EndPoint).InTime();
            ConnectionContext? server = await listener.AcceptAsync().InTime();
            harness.MoveAround(server!, listener);
            return string.Join(Environment.NewLine, await ConnectionRun.RunAsync(server!, peer, steps));
        }
    }
}
