// Connections that move in the middle of their life, as often as they can: no byte is lost, doubled or late, and
// whatever else happens to a connection happens to it once.
using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace MegaPipe.Kestrel.Tests.Balancing;

[Trait("Transport", "MegaPipe"), Trait("Area", "Moving")]
public sealed class MovingTests
{
    public static TheoryData<LightweightSockets, MegaPipeScheduling, bool> Kinds => new()
    {
        { LightweightSockets.Always, MegaPipeScheduling.Adaptive, false },
        { LightweightSockets.Never, MegaPipeScheduling.Adaptive, false },
        { LightweightSockets.Always, MegaPipeScheduling.Inline, false },
        { LightweightSockets.Never, MegaPipeScheduling.ThreadPool, false },
        { LightweightSockets.Always, MegaPipeScheduling.Adaptive, true },
        { LightweightSockets.Never, MegaPipeScheduling.Inline, true },
    };

    [Theory, MemberData(nameof(Kinds))]
    public async Task Echo_ConnectionsMoveAllTheTime_EveryByteComesBackInOrder(
        LightweightSockets sockets, MegaPipeScheduling scheduling, bool unix)
    {
        const int rounds = 300;
        await using TransportHarness harness = Create(sockets, scheduling);
        string path = Path.Combine(Path.GetTempPath(), $"mp-move-{Guid.NewGuid():N}");
        IConnectionListener listener = await harness.BindAsync(unix ? new UnixDomainSocketEndPoint(path) : null);
        using ConnectionMover mover = new(sleeps: false);
        List<Task> all = [];
        for (int i = 1; i <= 6; i++)
        {
            int seed = i;
            ConnectedPair pair = await harness.ConnectAsync(listener);
            all.Add(EchoAsync(pair.Server));
            all.Add(Task.Run(() => TalkAsync(pair, seed)));
        }

        await Task.WhenAll(all).InTime();
        await Eventually.True(() => Sum(harness, "moves_in") == Sum(harness, "moves_out"));

        async Task TalkAsync(ConnectedPair pair, int seed)
        {
            mover.Add((MegaPipeConnection)pair.Server, listener);
            Random random = new(seed);
            for (int i = 0; i < rounds; i++)
            {
                // Mostly one small piece, as a request; sometimes several in a row, or more than a buffer has.
                byte[] data = new byte[random.Next(8) == 0 ? random.Next(1, 30_000) : random.Next(1, 200)];
                random.NextBytes(data);
                int cut = random.Next(data.Length);
                await pair.Client.SendAllAsync(data.AsMemory(0, cut));
                await pair.Client.SendAllAsync(data.AsMemory(cut));
                Assert.Equal(data, await pair.Client.ReceiveExactlyAsync(data.Length));
            }

            await Eventually.True(() => Sum(harness, "moves_in") > 0);
            pair.Client.Shutdown(SocketShutdown.Send);
            Assert.Empty(await pair.Client.ReceiveToEndAsync());
        }
    }

    [Fact]
    public async Task Move_IdleConnection_ItLivesThereAndIsCountedThere()
    {
        await using TransportHarness harness = Create(LightweightSockets.Always, MegaPipeScheduling.Adaptive);
        IConnectionListener listener = await harness.BindAsync();
        ConnectedPair pair = await harness.ConnectAsync(listener);
        MegaPipeConnection connection = (MegaPipeConnection)pair.Server;
        string id = connection.ConnectionId;
        EndPoint?[] addresses = [connection.LocalEndPoint, connection.RemoteEndPoint];
        _ = EchoAsync(pair.Server);
        await AskAsync("1");
        for (int i = 1; i <= 6; i++)
        {
            int target = (connection.Channel.Index + 1) % Channels;
            connection.AskToMove(((Internal.Listening.MegaPipeConnectionListener)listener).Channels[target]);
            await Eventually.True(() => Sum(harness, "moves_in") == i);
            Assert.Equal(target, connection.Channel.Index);
            Assert.Equal(1, Counter(harness, target, "connections"));
            Assert.Equal(1, Sum(harness, "connections"));
            await AskAsync($"after {i}");
        }

        Assert.Equal(6, Sum(harness, "transfers"));
        Assert.Equal(1, Sum(harness, "accepted"));
        Assert.Equal(id, connection.ConnectionId);
        Assert.Equal(addresses, [connection.LocalEndPoint, connection.RemoteEndPoint]);
        pair.Client.Dispose();
        await connection.DisposeAsync().InTime();
        Assert.Equal(0, Sum(harness, "connections"));

        async Task AskAsync(string text)
        {
            await pair.Client.SendAllAsync(text);
            Assert.Equal(text, Encoding.ASCII.GetString(await pair.Client.ReceiveExactlyAsync(text.Length)));
        }
    }

    /// <summary>All heavy connections are on one channel, which the balancer sees by itself.</summary>
    [Fact]
    public async Task Balancer_OneChannelHasAllTheWork_ItsConnectionsMove()
    {
        await using TransportHarness harness = TransportHarness.Create(TransportKind.MegaPipe, settings =>
            settings.MegaPipe = options =>
            {
                options.Channels = 2;
                options.Steering = MegaPipeSteering.Balanced;
                options.Scheduling = MegaPipeScheduling.Inline;
                options.LocalPerStolen = 0;
                options.MigrateConnections = true;
            });
        IConnectionListener listener = await harness.BindAsync();
        List<ConnectedPair> heavy = [];
        while (heavy.Count < 8)
        {
            ConnectedPair pair = await harness.ConnectAsync(listener);
            if (((MegaPipeConnection)pair.Server).Channel.Index == 0)
            {
                heavy.Add(pair);
                continue;
            }

            pair.Client.Dispose();
            await pair.Server.DisposeAsync().InTime();
        }

        using CancellationTokenSource enough = new();
        List<Task> all = [.. heavy.Select(pair => EchoAsync(pair.Server, () => Thread.Sleep(2)))];
        all.AddRange(heavy.Select(AskAsync));
        await Eventually.True(() => Sum(harness, "moves_out") > 0);
        await enough.CancelAsync();
        await Task.WhenAll(all).InTime();
        Assert.True(Counter(harness, 1, "moves_in") > 0);
        Assert.True(harness.Logs.Count(118) > 0);

        async Task AskAsync(ConnectedPair pair)
        {
            while (!enough.IsCancellationRequested)
            {
                await pair.Client.SendAllAsync("x");
                Assert.Equal("x"u8.ToArray(), await pair.Client.ReceiveExactlyAsync(1));
            }

            pair.Client.Shutdown(SocketShutdown.Send);
        }
    }

    [Fact]
    public async Task Move_OptionIsOff_NothingMovesByItself()
    {
        await using TransportHarness harness = Create(LightweightSockets.Auto, MegaPipeScheduling.Adaptive);
        ConnectedPair pair = await harness.ConnectAsync();
        _ = EchoAsync(pair.Server);
        for (int i = 0; i < 100; i++)
        {
            await pair.Client.SendAllAsync("x");
            await pair.Client.ReceiveExactlyAsync(1);
        }

        Assert.Equal(0, Sum(harness, "moves_in") + Sum(harness, "moves_out"));
    }

    /// <summary>What the application or the client does at a moment that is anywhere in a move.</summary>
    [Theory]
    [InlineData(LightweightSockets.Always)]
    [InlineData(LightweightSockets.Never)]
    public async Task End_AtAnyMomentOfAMove_TheConnectionEndsOnce(LightweightSockets sockets)
    {
        await using TransportHarness harness = Create(sockets, MegaPipeScheduling.Adaptive);
        IConnectionListener listener = await harness.BindAsync();
        using ConnectionMover mover = new(sleeps: false);
        Random random = new(7);
        for (int i = 0; i < 150; i++)
        {
            ConnectedPair pair = await harness.ConnectAsync(listener);
            Task echo = EchoAsync(pair.Server);
            await pair.Client.SendAllAsync("x");
            await pair.Client.ReceiveExactlyAsync(1);
            int closed = 0;
            pair.Server.ConnectionClosed.Register(() => Interlocked.Increment(ref closed));
            mover.Add((MegaPipeConnection)pair.Server, listener);
            if (i % 30 == 0)
            {
                await Eventually.True(() => ((MegaPipeConnection)pair.Server).MovedAtMs > 0);
            }

            Thread.SpinWait(random.Next(20_000));
            switch (i % 6)
            {
                case 0:
                    pair.Server.Abort(new ConnectionAbortedException("the test"));
                    Assert.NotNull(await pair.Client.ReceiveEndAsync());
                    break;
                case 1:
                    pair.Client.Reset();
                    break;
                case 2:
                    pair.Client.Shutdown(SocketShutdown.Send);
                    Assert.Empty(await pair.Client.ReceiveToEndAsync());
                    break;
                case 3:
                    pair.Server.Transport.Input.CancelPendingRead(); // the echo ends, and with it the connection
                    Assert.Empty(await pair.Client.ReceiveToEndAsync());
                    break;
                case 4:
                    await pair.Client.SendAllAsync("bye"); // data and the end right behind it
                    pair.Client.Shutdown(SocketShutdown.Send);
                    Assert.Equal("bye"u8.ToArray(), await pair.Client.ReceiveToEndAsync());
                    break;
                default:
                    await pair.Server.Transport.Output.WriteAsync("last"u8.ToArray());
                    pair.Server.Transport.Input.CancelPendingRead();
                    Assert.Equal("last"u8.ToArray(), await pair.Client.ReceiveToEndAsync());
                    break;
            }

            await echo.InTime();
            await pair.Server.DisposeAsync().InTime();
            Assert.Equal(1, closed);
            pair.Client.Dispose();
        }

        await Eventually.True(() => Sum(harness, "connections") == 0);
    }

    [Fact]
    public async Task Token_IsCanceledDuringMoves_TheReadEndsAndTheNextOneWaits()
    {
        await using TransportHarness harness = Create(LightweightSockets.Always, MegaPipeScheduling.Adaptive);
        IConnectionListener listener = await harness.BindAsync();
        ConnectedPair pair = await harness.ConnectAsync(listener);
        PipeReader input = pair.Server.Transport.Input;
        await pair.Client.SendAllAsync("x");
        await input.ReadExactlyAsync(1);
        using ConnectionMover mover = new(sleeps: false);
        mover.Add((MegaPipeConnection)pair.Server, listener);
        for (int i = 0; i < 100; i++)
        {
            using CancellationTokenSource source = new(TimeSpan.FromMilliseconds(i % 3));
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => input.ReadAsync(source.Token).AsTask())
                .InTime();
        }

        await pair.Client.SendAllAsync("y");
        Assert.Equal("y"u8.ToArray(), await input.ReadExactlyAsync(1));
    }

    [Fact]
    public async Task Flush_FromOtherThreadsDuringMoves_EverythingIsSentInOrder()
    {
        const int numbers = 20_000;
        await using TransportHarness harness = Create(LightweightSockets.Always, MegaPipeScheduling.Adaptive);
        IConnectionListener listener = await harness.BindAsync();
        ConnectedPair pair = await harness.ConnectAsync(listener);
        await pair.Client.SendAllAsync("x");
        await pair.Server.Transport.Input.ReadExactlyAsync(1);
        Task<byte[]> waits = pair.Server.Transport.Input.ReadExactlyAsync(1);
        using ConnectionMover mover = new(sleeps: false);
        mover.Add((MegaPipeConnection)pair.Server, listener);
        Task pushing = Task.Run(async () =>
        {
            for (int i = 0; i < numbers; i++)
            {
                await pair.Server.Transport.Output.WriteAsync(BitConverter.GetBytes(i));
                if (i % 64 == 0)
                {
                    await Task.Yield();
                }
            }
        });
        byte[] received = await pair.Client.ReceiveExactlyAsync(numbers * sizeof(int));
        await pushing.InTime();
        for (int i = 0; i < numbers; i++)
        {
            Assert.Equal(i, BitConverter.ToInt32(received, i * sizeof(int)));
        }

        await Eventually.True(() => Sum(harness, "moves_in") > 0);
        await pair.Client.SendAllAsync("z");
        await waits.InTime();
    }

    [Fact]
    public async Task Socket_IsAskedForDuringMoves_ItIsTheConnectionsAndFromThenOnItStays()
    {
        await using TransportHarness harness = Create(LightweightSockets.Never, MegaPipeScheduling.Adaptive);
        IConnectionListener listener = await harness.BindAsync();
        using ConnectionMover mover = new(sleeps: false);
        for (int i = 0; i < 40; i++)
        {
            ConnectedPair pair = await harness.ConnectAsync(listener);
            _ = EchoAsync(pair.Server);
            await pair.Client.SendAllAsync("x");
            await pair.Client.ReceiveExactlyAsync(1);
            mover.Add((MegaPipeConnection)pair.Server, listener);
            Socket socket = await Task.Run(() => pair.Server.Features.Get<IConnectionSocketFeature>()!.Socket).InTime();
            Assert.Equal(pair.Client.LocalEndPoint, socket.RemoteEndPoint);
            int channel = ((MegaPipeConnection)pair.Server).Channel.Index;
            await pair.Client.SendAllAsync("y");
            await pair.Client.ReceiveExactlyAsync(1);
            Assert.Equal(channel, ((MegaPipeConnection)pair.Server).Channel.Index);
        }
    }

    /// <summary>A target without a handle has taken the socket by then; one without room for it has not.</summary>
    [Fact]
    public async Task Move_TargetIsFull_TheConnectionStaysOrEndsWithAReason()
    {
        await using TransportHarness harness = TransportHarness.Create(TransportKind.MegaPipe, settings =>
            settings.MegaPipe = options =>
            {
                options.Channels = Channels;
                options.Steering = MegaPipeSteering.Balanced;
                options.LocalPerStolen = 0;
                options.MaxHandlesPerChannel = 64;
                options.LightweightSockets = LightweightSockets.Never;
            });
        IConnectionListener listener = await harness.BindAsync();
        List<ConnectedPair> pairs = [];
        for (int i = 0; i < 100; i++)
        {
            ConnectedPair pair = await harness.ConnectAsync(listener);
            _ = EchoAsync(pair.Server);
            await pair.Client.SendAllAsync("x");
            await pair.Client.ReceiveExactlyAsync(1);
            pairs.Add(pair);
        }

        foreach (ConnectedPair pair in pairs)
        {
            ((MegaPipeConnection)pair.Server).AskToMove(
                ((Internal.Listening.MegaPipeConnectionListener)listener).Channels[0]);
        }

        int served = 0;
        foreach (ConnectedPair pair in pairs)
        {
            int received = 0;
            try
            {
                await pair.Client.SendAllAsync("y");
                received = await pair.Client.ReceiveAsync(new byte[1]).InTime();
            }
            catch (SocketException)
            {
            }

            served += received;
            if (received == 0)
            {
                await Eventually.True(() => ((MegaPipeConnection)pair.Server).EndReason is not null);
                await pair.Server.DisposeAsync().InTime();
            }
        }

        Assert.InRange(served, 1, pairs.Count);
    }

    [Fact]
    public async Task Unbind_ConnectionsMoveMeanwhile_EachIsServedToItsEnd()
    {
        for (int i = 0; i < 10; i++)
        {
            await using TransportHarness harness = Create(LightweightSockets.Always, MegaPipeScheduling.Adaptive);
            IConnectionListener listener = await harness.BindAsync();
            using ConnectionMover mover = new(sleeps: false);
            List<(ConnectedPair Pair, Task Echo)> all = [];
            for (int j = 0; j < 8; j++)
            {
                ConnectedPair pair = await harness.ConnectAsync(listener);
                all.Add((pair, EchoAsync(pair.Server)));
                await pair.Client.SendAllAsync("x");
                await pair.Client.ReceiveExactlyAsync(1);
                mover.Add((MegaPipeConnection)pair.Server, listener);
            }

            Task unbind = listener.UnbindAsync().AsTask();
            foreach ((ConnectedPair pair, Task echo) in all)
            {
                await pair.Client.SendAllAsync("y");
                Assert.Equal("y"u8.ToArray(), await pair.Client.ReceiveExactlyAsync(1));
                pair.Client.Shutdown(SocketShutdown.Send);
                await echo.InTime();
            }

            await unbind.InTime();
        }
    }

    private const int Channels = 3;

    private static TransportHarness Create(LightweightSockets sockets, MegaPipeScheduling scheduling) =>
        TransportHarness.Create(TransportKind.MegaPipe, settings => settings.MegaPipe = options =>
        {
            options.Channels = Channels;
            options.Steering = MegaPipeSteering.Balanced;
            options.LocalPerStolen = 0;
            options.LightweightSockets = sockets;
            options.Scheduling = scheduling;
        });

    /// <summary>Sends back what comes, until the client ends, the read is canceled, or the connection breaks.</summary>
    private static async Task EchoAsync(ConnectionContext server, Action? work = null)
    {
        try
        {
            while (true)
            {
                ReadResult result = await server.Transport.Input.ReadAsync();
                foreach (ReadOnlyMemory<byte> piece in result.Buffer)
                {
                    server.Transport.Output.Write(piece.Span);
                }

                server.Transport.Input.AdvanceTo(result.Buffer.End);
                work?.Invoke();
                await server.Transport.Output.FlushAsync();
                if (result.IsCompleted || result.IsCanceled)
                {
                    break;
                }
            }
        }
        catch (Exception error) when (error is IOException or ConnectionAbortedException)
        {
        }

        await server.Transport.Output.CompleteAsync();
        await server.Transport.Input.CompleteAsync();
    }

    private static long Counter(TransportHarness harness, int channel, string name) =>
        harness.Status!.GetChannels()[channel].Counters[name];

    private static long Sum(TransportHarness harness, string name) => LeakCheck.Sum(harness.Status, name);
}
