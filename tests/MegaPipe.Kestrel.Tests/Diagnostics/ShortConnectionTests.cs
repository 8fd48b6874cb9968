// What a connection of one exchange costs beside the exchange: entries of the ring and bytes.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Allocation")]
public sealed class ShortConnectionTests(ITestOutputHelper output)
{
    private const int Connections = 400;
    private const int Rounds = 5;

    /// <summary>The channel's own, and polls for the ends of connections that a busy machine makes last.</summary>
    private const double OwnEntries = 0.5;

    [Theory]
    [InlineData(Ends.Server, 5)] // accept, receive, send, the receive's cancel, close
    [InlineData(Ends.Client, 4)] // its end ends the receive
    public async Task Connection_OfOneExchange_TakesFewEntriesOfTheRing(Ends end, int entries)
    {
        await using TransportHarness harness = Create(TransportKind.MegaPipe);
        ShortServer server = new(await harness.BindAsync(), end);
        double least = double.MaxValue;
        for (int round = 0; round < Rounds; round++)
        {
            long before = LeakCheck.Sum(harness.Status, "requests");
            await server.ServeAsync(Connections);
            least = Math.Min(least, (double)(LeakCheck.Sum(harness.Status, "requests") - before) / Connections);
        }

        output.WriteLine($"{least:F2} entries");
        Assert.InRange(least, 1, entries + OwnEntries);
    }

    [Fact]
    public async Task Connection_OfOneExchange_AllocatesLessThanStocks()
    {
        long stock = await AllocatedAsync(TransportKind.Sockets), ours = await AllocatedAsync(TransportKind.MegaPipe);
        output.WriteLine($"stock {stock} bytes, MegaPipe {ours}");
        Assert.InRange(ours, 1, stock);
    }

    /// <summary>One channel: between two a connection may move, which takes entries of its own.</summary>
    private static TransportHarness Create(TransportKind kind) => TransportHarness.Create(
        kind, settings => settings.MegaPipe = options => options.Channels = 1);

    private static async Task<long> AllocatedAsync(TransportKind kind)
    {
        await using TransportHarness harness = Create(kind);
        ShortServer server = new(await harness.BindAsync(), Ends.Server);
        await server.ServeAsync(Connections);
        long least = long.MaxValue;
        for (int round = 0; round < Rounds; round++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            await server.ServeAsync(Connections);
            least = Math.Min(least, (GC.GetTotalAllocatedBytes(precise: true) - before) / Connections);
        }

        return least;
    }

    /// <summary>Who ends the connection.</summary>
    public enum Ends
    {
        Server,
        Client,
    }

    /// <summary>Answers one request on each connection. Clients come one after the other.</summary>
    private sealed class ShortServer(IConnectionListener listener, Ends end)
    {
        public async Task ServeAsync(int count)
        {
            Task clients = Task.Factory.StartNew(
                () => Ask(count), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
            Task[] served = new Task[count];
            for (int i = 0; i < count; i++)
            {
                ConnectionContext? connection = await listener.AcceptAsync();
                served[i] = AnswerAsync(connection!);
            }

            await Task.WhenAll(served).InTime();
            await clients.InTime();
        }

        private async Task AnswerAsync(ConnectionContext connection)
        {
            PipeReader input = connection.Transport.Input;
            ReadResult result = await input.ReadAsync();
            input.AdvanceTo(result.Buffer.End);
            connection.Transport.Output.GetSpan(64);
            connection.Transport.Output.Advance(64);
            await connection.Transport.Output.FlushAsync();
            if (end == Ends.Client)
            {
                result = await input.ReadAsync();
                input.AdvanceTo(result.Buffer.End);
            }

            await connection.DisposeAsync();
        }

        // Never asynchronously: what a client's socket allocates would count for the server.
        private void Ask(int count)
        {
            Span<byte> bytes = stackalloc byte[64];
            for (int i = 0; i < count; i++)
            {
                using Socket client = new(SocketType.Stream, ProtocolType.Tcp);
                client.Connect(listener.EndPoint);
                client.Send(bytes);
                int wanted = end == Ends.Server ? int.MaxValue : bytes.Length;
                for (int got = 0, piece = 1; got < wanted && piece > 0; got += piece)
                {
                    piece = client.Receive(bytes);
                }
            }
        }
    }
}
