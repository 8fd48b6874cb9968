// The hot path allocates nothing: exchanges on an open connection, counted over the whole process.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Allocation")]
public sealed class AllocationTests
{
    private const int WarmUp = 5_000;
    private const int Exchanges = 20_000;
    private const int Rounds = 10;

    /// <summary>What timers and tiering in the background may allocate, spread over all exchanges.</summary>
    private const double MaxBytesAnExchange = 8;

    [Theory]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeInline)]
    [InlineData(TransportKind.MegaPipeNoLwsocket)]
    public async Task Exchange_OpenConnection_AllocatesNothing(TransportKind kind)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();

        // Never used asynchronously: a socket that was allocates for each receive that has to wait.
        using Socket client = new(SocketType.Stream, ProtocolType.Tcp);
#pragma warning disable CA1849 // see above
        client.Connect(listener.EndPoint);
#pragma warning restore CA1849
        ConnectionContext? server = await listener.AcceptAsync();
        Task echo = EchoAsync(server!.Transport);
        long allocated;
        try
        {
            allocated = await Task.Factory.StartNew(
                () => LeastAllocated(client), CancellationToken.None, TaskCreationOptions.LongRunning,
                TaskScheduler.Default);
        }
        finally
        {
            client.Shutdown(SocketShutdown.Send);
            await echo.InTime();
            await server.DisposeAsync();
        }

        Assert.InRange((double)allocated / Exchanges, 0, MaxBytesAnExchange);
    }

    /// <summary>
    /// A busy machine makes threads, for the pool and for channels whose carrier has no CPU. Exchanges allocate in each
    /// round, if they do.
    /// </summary>
    private static long LeastAllocated(Socket client)
    {
        Exchange(client, WarmUp);
        long least = long.MaxValue;
        for (int round = 0; round < Rounds && (double)least / Exchanges > MaxBytesAnExchange; round++)
        {
            long before = GC.GetTotalAllocatedBytes(precise: true);
            Exchange(client, Exchanges);
            least = Math.Min(least, GC.GetTotalAllocatedBytes(precise: true) - before);
        }

        return least;
    }

    private static void Exchange(Socket client, int count)
    {
        Span<byte> bytes = stackalloc byte[64];
        for (int i = 0; i < count; i++)
        {
            client.Send(bytes);
            for (int got = 0; got < bytes.Length;)
            {
                got += client.Receive(bytes[got..]);
            }
        }
    }

    private static async Task EchoAsync(IDuplexPipe transport)
    {
        while (true)
        {
            ReadResult result = await transport.Input.ReadAsync();
            foreach (ReadOnlyMemory<byte> segment in result.Buffer)
            {
                segment.Span.CopyTo(transport.Output.GetSpan(segment.Length));
                transport.Output.Advance(segment.Length);
            }

            transport.Input.AdvanceTo(result.Buffer.End);
            await transport.Output.FlushAsync();
            if (result.IsCompleted)
            {
                return;
            }
        }
    }
}
