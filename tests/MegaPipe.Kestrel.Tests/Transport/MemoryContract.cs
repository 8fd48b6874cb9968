// Memory blocks: every block that the transport took from the pool comes back, whatever the connection's end.
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class MemoryContract(TransportKind kind)
{
    [Fact]
    public async Task Blocks_AfterEveryKindOfEnd_AreAllReturned()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
        {
            settings.TrackMemory = true;
            settings.MaxReadBufferSize = 64 * 1024;
            settings.MaxWriteBufferSize = 0;
        });
        var listener = await harness.BindAsync();

        // Idle; with input unread; paused; output unsent or unflushed and aborted; reset; closed well.
        await harness.ConnectAsync(listener);
        ConnectedPair unread = await harness.ConnectAsync(listener);
        await unread.Client.SendAllAsync(new byte[10_000]);
        var result = await unread.Server.Transport.Input.WaitForAsync(10_000);
        unread.Server.Transport.Input.AdvanceTo(result.Buffer.Start, result.Buffer.End);

        ConnectedPair paused = await harness.ConnectAsync(listener);
        await paused.Client.SendUntilBlockedAsync(long.MaxValue, harness.Logs.Reached(LogCapture.ConnectionPause));

        ConnectedPair unsent = await harness.ConnectAsync(listener);
        await unsent.Server.Transport.Output.WriteAsync(new byte[16 * 1024 * 1024]).InTime();
        unsent.Server.Abort(new ConnectionAbortedException("because"));

        ConnectedPair reset = await harness.ConnectAsync(listener);
        await reset.Client.SendAllAsync(new byte[5_000]);
        reset.Client.Reset();

        ConnectedPair unflushed = await harness.ConnectAsync(listener);
        unflushed.Server.Transport.Output.GetMemory(100);
        unflushed.Server.Transport.Output.Advance(100);
        unflushed.Server.Abort(new ConnectionAbortedException("because"));
        await unflushed.Server.ConnectionClosed.WaitForCancellation().InTime();

        ConnectedPair closed = await harness.ConnectAsync(listener);
        await closed.Server.Transport.Output.WriteAsync(new byte[100_000]).InTime();
        await closed.Client.ReceiveExactlyAsync(100_000);

        Assert.True(harness.Memory.Rented > 0, "the transport never used the pool factory of its services");
        await harness.StopAsync();
        await Eventually.True(() => harness.Memory.BlocksOut == 0, () => $"{harness.Memory.BlocksOut} blocks out");
    }

    [Theory]
    [InlineData(1)]
    [InlineData(10_000)]
    public async Task Blocks_OfAnOpenConnectionThatHasSentEverything_AreAllReturned(int bytes)
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings => settings.TrackMemory = true);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Client.SendAllAsync(new byte[bytes]);
        await pair.Server.Transport.Input.ReadExactlyAsync(bytes);
        await pair.Server.Transport.Output.WriteAsync(new byte[bytes]).InTime();
        await pair.Client.ReceiveExactlyAsync(bytes);
        Assert.True(harness.Memory.Rented > 0, "the transport never used the pool factory of its services");
        await Eventually.True(() => harness.Memory.BlocksOut == 0, () => $"{harness.Memory.BlocksOut} blocks out");
    }

    [Theory]
    [InlineData(512)]
    [InlineData(4095)]
    [InlineData(16_384)]
    public async Task Blocks_OfAnotherSize_AnyMemoryCanBeAskedForAndAllArrives(int blockBytes)
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
        {
            settings.TrackMemory = true;
            settings.BlockBytes = blockBytes;
        });
        ConnectedPair pair = await harness.ConnectAsync();
        foreach (int size in (int[])[0, 1, 511, 512, 513, 4095, 4096, 4097, 16_384, 16_385, 70_000])
        {
            Memory<byte> memory = pair.Server.Transport.Output.GetMemory(size);
            Assert.True(memory.Length >= Math.Max(1, size), $"{memory.Length} bytes for {size}");
            byte[] bytes = Client.Pattern(Math.Max(1, size));
            bytes.CopyTo(memory);
            pair.Server.Transport.Output.Advance(bytes.Length);
            await pair.Server.Transport.Output.FlushAsync().InTime();
            Assert.Equal(bytes, await pair.Client.ReceiveExactlyAsync(bytes.Length));
            await pair.Client.SendAllAsync(bytes);
            Assert.Equal(bytes, await pair.Server.Transport.Input.ReadExactlyAsync(bytes.Length));
        }

        await harness.StopAsync();
        await Eventually.True(() => harness.Memory.BlocksOut == 0, () => $"{harness.Memory.BlocksOut} blocks out");
    }

    [Fact]
    public async Task Blocks_IdleConnections_AreNotHeld()
    {
        // Stock waits for data before it takes a buffer; an idle connection must not cost one here either.
        const int Connections = 50;
        await using TransportHarness harness = TransportHarness.Create(kind, settings => settings.TrackMemory = true);
        var listener = await harness.BindAsync();
        for (int i = 0; i < Connections; i++)
        {
            ConnectedPair pair = await harness.ConnectAsync(listener);
            await pair.Client.SendAllAsync("ping");
            await pair.Server.Transport.Input.ReadExactlyAsync(4);
            await pair.Server.Transport.Output.WriteAsync("pong"u8.ToArray()).InTime();
            await pair.Client.ReceiveExactlyAsync(4);
        }

        await Eventually.True(
            () => harness.Memory.BlocksOut < Connections / 2, () => $"{harness.Memory.BlocksOut} blocks out");
    }

    [Theory]
    [InlineData(4_097)]
    [InlineData(40_000)]
    [InlineData(65_537)]
    [InlineData(100_000)]
    [InlineData(1_000_000)]
    public async Task LargeWrites_ManyFlushes_AllocateNothingThatStays(int bytes)
    {
        // A pinned array for each flush made a full collection every 32 flushes.
        const int WarmUp = 100;
        const int Flushes = 1_000;
        // An array each time would be all of `bytes`; now and then a pool makes a new one (stock: 4,531 of 1,000,000).
        int mostBytesAFlush = Math.Max(4_096, bytes / 16);
        const int MaxFullCollections = 3;
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Task drain = Task.Factory.StartNew(
            () => Drain(pair.Client), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        await Write(pair.Server.Transport.Output, bytes, WarmUp).InTime();
        long allocated = GC.GetTotalAllocatedBytes(precise: true);
        int collections = GC.CollectionCount(2);
        await Write(pair.Server.Transport.Output, bytes, Flushes).InTime();
        Assert.InRange((GC.GetTotalAllocatedBytes(precise: true) - allocated) / Flushes, 0, mostBytesAFlush);
        Assert.InRange(GC.CollectionCount(2) - collections, 0, MaxFullCollections);
        await pair.Server.DisposeAsync().InTime();
        await drain.InTime();

        static async Task Write(System.IO.Pipelines.PipeWriter output, int bytes, int flushes)
        {
            for (int i = 0; i < flushes; i++)
            {
                output.GetMemory(bytes).Span[..bytes].Fill((byte)i);
                output.Advance(bytes);
                await output.FlushAsync();
            }
        }

        static void Drain(System.Net.Sockets.Socket client)
        {
            byte[] chunk = new byte[256 * 1024];
            while (client.Receive(chunk) > 0)
            {
            }
        }
    }

    [Fact]
    public async Task GetMemory_OfAnySizeAcrossFlushes_EveryByteArrives()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Task<byte[]> received = pair.Client.ReceiveToEndAsync();
        using MemoryStream sent = new();
        Random random = new(7);
        for (int i = 0; i < 200; i++)
        {
            int asked = random.Next(0, 200_000);
            Memory<byte> memory = pair.Server.Transport.Output.GetMemory(asked);
            Assert.True(memory.Length >= Math.Max(1, asked));
            int written = random.Next(0, Math.Min(memory.Length, 20_000));
            random.NextBytes(memory.Span[..written]);
            sent.Write(memory.Span[..written]);
            pair.Server.Transport.Output.Advance(written);
            if (random.Next(3) == 0)
            {
                await pair.Server.Transport.Output.FlushAsync().InTime();
            }
        }

        await pair.Server.DisposeAsync().InTime();
        Assert.Equal(sent.ToArray(), await received);
    }
}
