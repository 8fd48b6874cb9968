// The socket of IConnectionSocketFeature: what the application does to it, and what is left of it at the end.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class SocketFeatureContract(TransportKind kind)
{
    private const int Callers = 64;

    /// <summary>Stock takes 21 ms; waiting for the pool to grow by threads took 13 s.</summary>
    private static readonly TimeSpan QuickEnough = TimeSpan.FromSeconds(3);

    [Theory]
    [InlineData("dispose", true)]
    [InlineData("linger", true)]
    [InlineData("close-0", true)]
    [InlineData("shutdown", false)]
    [InlineData("client-fin", false)]
    [InlineData("client-fin-linger", true)]
    public async Task Socket_ClosedByTheApplication_ConnectionEndsOnTheWireAndForTheReader(string how, bool reset)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Socket socket = SocketOf(pair.Server);
        if (how.StartsWith("client-fin", StringComparison.Ordinal))
        {
            pair.Client.Shutdown(SocketShutdown.Send);
            await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        }

        if (how.EndsWith("linger", StringComparison.Ordinal))
        {
            socket.LingerState = new LingerOption(true, 0);
        }

        Task<Exception?> read = pair.Server.Transport.Input.ReadFaultAsync();
        switch (how)
        {
            case "shutdown":
                socket.Shutdown(SocketShutdown.Send);
                socket.Dispose();
                break;
            case "close-0":
                socket.Close(0);
                break;
            default:
                socket.Dispose();
                break;
        }

        Assert.Equal(reset ? SocketError.ConnectionReset : null, await pair.Client.ReceiveEndAsync().InTime());
        Exception? fault = await read.InTime("the pending read's end");
        if (!how.StartsWith("client-fin", StringComparison.Ordinal))
        {
            Assert.Equal(SocketError.OperationAborted, Assert.IsType<SocketException>(fault).SocketErrorCode);
        }

        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        await pair.Server.DisposeAsync().InTime();
        Assert.Equal(1, harness.Logs.Count(LogCapture.ConnectionWriteFin) +
            harness.Logs.Count(LogCapture.ConnectionWriteRst));
        if (kind.IsMegaPipe())
        {
            // Stock logs what it would have done, had the socket not been closed before.
            Assert.Equal(reset ? 1 : 0, harness.Logs.Count(LogCapture.ConnectionWriteRst));
        }
    }

    [Fact]
    public async Task Socket_ClosedByTheApplication_WritesEnd()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        SocketOf(pair.Server).Dispose();
        FlushResult result = default;
        for (int i = 0; i < 1_000 && !result.IsCompleted; i++)
        {
            result = await pair.Server.Transport.Output.WriteAsync(new byte[1]).InTime();
            await Task.Delay(1);
        }

        Assert.True(result.IsCompleted);
    }

    [Fact]
    public async Task Socket_AskedForAndOutputCompleted_FinAtOnceAndSocketDisposed()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Socket socket = SocketOf(pair.Server);
        await pair.Server.Transport.Output.WriteAsync("all"u8.ToArray()).InTime();
        await pair.Server.Transport.Output.CompleteAsync();
        Assert.Equal("all"u8.ToArray(), await pair.Client.ReceiveToEndAsync());
        await Eventually.True(() => IsDisposed(socket));
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
    }

    [Fact]
    public async Task Socket_AskedForAndAborted_RstAtOnceAndSocketDisposed()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Socket socket = SocketOf(pair.Server);
        pair.Server.Abort(new ConnectionAbortedException("because"));
        Assert.Equal(SocketError.ConnectionReset, await pair.Client.ReceiveEndAsync().InTime());
        await Eventually.True(() => IsDisposed(socket));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Socket_FirstAskedForAfterTheEnd_IsDisposed(bool disposed)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Server.Abort(new ConnectionAbortedException("because"));
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        if (disposed)
        {
            await pair.Server.DisposeAsync().InTime();
        }

        Socket socket = await Task.Run(() => SocketOf(pair.Server)).InTime();
        await Eventually.True(() => IsDisposed(socket));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Socket_AskedForByManyThreadsAtOnce_NobodyWaitsForThePool(bool sameConnection)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        List<ConnectionContext> connections = [];
        for (int i = 0; i < Callers; i++)
        {
            connections.Add(i > 0 && sameConnection ? connections[0] : (await harness.ConnectAsync(listener)).Server);
        }

        long start = Environment.TickCount64;
        Socket[] sockets = await Task.WhenAll(connections.Select(one => Task.Run(() => SocketOf(one)))).InTime();
        Assert.InRange(Environment.TickCount64 - start, 0, QuickEnough.TotalMilliseconds);
        Assert.Equal(sameConnection ? 1 : Callers, sockets.Distinct().Count());
    }

    [Fact]
    public async Task Socket_AskedForOnTheCarrierWhileAnotherThreadWaitsForIt_BothGetIt()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Task<(Socket, Socket)> both = UseFromTwoThreads(pair.Server);
        await pair.Client.SendAllAsync("x");
        (Socket one, Socket two) = await both.InTime();
        Assert.Same(one, two);

        static async Task<(Socket, Socket)> UseFromTwoThreads(ConnectionContext server)
        {
            ReadResult read = await server.Transport.Input.ReadAsync();
            server.Transport.Input.AdvanceTo(read.Buffer.End);
            Socket? other = null;
            Thread thread = new(() => other = SocketOf(server));
            thread.Start();
            // It waits for this very thread where continuations run on the channel's own.
            SpinWait.SpinUntil(() => other is not null || thread.ThreadState == ThreadState.WaitSleepJoin,
                TimeSpan.FromMilliseconds(200));
            Socket mine = SocketOf(server);
            await Task.Run(thread.Join);
            return (mine, other!);
        }
    }

    [Fact]
    public async Task Socket_AskedForByTwoCarriersOfEachOthersConnections_BothGetIt()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        List<ConnectedPair> pairs = [];
        for (int i = 0; i < 8; i++)
        {
            pairs.Add(await harness.ConnectAsync(listener));
        }

        // Where continuations run on carriers some of these pairs are on two of them, and meet in the barrier.
        for (int i = 0; i < pairs.Count; i++)
        {
            for (int j = 0; j < i; j++)
            {
                using Barrier both = new(2);
                Task<Socket> one = UseOther(pairs[i].Server, pairs[j].Server, both);
                Task<Socket> two = UseOther(pairs[j].Server, pairs[i].Server, both);
                await pairs[i].Client.SendAllAsync("x");
                await pairs[j].Client.SendAllAsync("x");
                await Task.WhenAll(one, two).InTime();
            }
        }

        static async Task<Socket> UseOther(ConnectionContext mine, ConnectionContext other, Barrier both)
        {
            ReadResult read = await mine.Transport.Input.ReadAsync();
            mine.Transport.Input.AdvanceTo(read.Buffer.End);
            both.SignalAndWait(TimeSpan.FromMilliseconds(50));
            return SocketOf(other);
        }
    }

    private static Socket SocketOf(ConnectionContext connection) =>
        connection.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket;

    private static bool IsDisposed(Socket socket)
    {
        try
        {
            return socket.Available < 0;
        }
        catch (ObjectDisposedException)
        {
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
