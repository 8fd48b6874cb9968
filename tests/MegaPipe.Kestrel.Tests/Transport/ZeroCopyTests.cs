// Large writes that the kernel is asked to send without a copy. Loopback copies them, so the way of the memory is the
// real one, and the saving is not: after a few reports a connection asks no more, unless a test wants it to.
using System.Security.Cryptography;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Transport;

[Trait("Area", "ZeroCopy")]
public sealed class ZeroCopyTests
{
    private const int Large = 300_000;

    /// <summary>Without it (Linux 6.1) the option means nothing, which the first test shows.</summary>
    private static bool KernelCan => MegaPipeFeatures.Has(Feature.ZeroCopy);

    [Theory]
    [InlineData(0)]
    [InlineData(Large + 1)]
    [InlineData(Large)]
    public async Task Write_ByTheThreshold_IsCopiedOrNot(int threshold)
    {
        await using TransportHarness harness = Create(threshold, always: true);
        ConnectedPair pair = await harness.ConnectAsync();
        await RoundAsync(pair, Large, seed: 1);
        Assert.Equal(threshold == Large && KernelCan ? 1 : 0, Sum(harness, "zero_copies"));
        await Eventually.True(() => Sum(harness, "held_bytes") == 0);
    }

    /// <summary>A few reports in a row say what a connection's way is. One may be about a short packet alone.</summary>
    [Fact]
    public async Task Write_OnAConnectionWhoseLastOnesWereCopied_IsAskedForNoMore()
    {
        await using TransportHarness harness = Create(1, always: false);
        ConnectedPair pair = await harness.ConnectAsync();
        for (int i = 1; i <= 6; i++)
        {
            await RoundAsync(pair, Large, seed: i);
            long asked = Sum(harness, "zero_copies");
            Assert.Equal(KernelCan ? Math.Min(i, 4) : 0, asked);
            await Eventually.True(() => Sum(harness, "zero_copies_copied") == asked);
        }
    }

    /// <summary>Nor is it asked for on every new connection of a channel whose last ones were all copied.</summary>
    [Fact]
    public async Task Write_OnAChannelThatCopiedManyInARow_IsAskedForRarely()
    {
        await using TransportHarness harness = Create(1, always: false);
        var listener = await harness.BindAsync();
        for (int i = 0; i < 24; i++)
        {
            ConnectedPair pair = await harness.ConnectAsync(listener);
            await RoundAsync(pair, 10, seed: i);
            long asked = Sum(harness, "zero_copies");
            await Eventually.True(() => Sum(harness, "zero_copies_copied") == asked);
        }

        Assert.Equal(KernelCan ? 16 : 0, Sum(harness, "zero_copies"));
    }

    /// <summary>
    /// Bodies of any size, flushed in pieces of any size, to readers of any speed, some of which go away in the middle:
    /// those that stay get every byte, and all memory comes back.
    /// </summary>
    [Fact]
    public async Task Bodies_ToSlowReadersAndResets_ArriveWholeAndLeaveNothing()
    {
        await using TransportHarness harness = Create(1, always: true, settings =>
        {
            settings.TrackMemory = true;
            settings.MaxWriteBufferSize = 64 * 1024;
        });
        var listener = await harness.BindAsync();
        List<Task> clients = [];
        for (int i = 0; i < 12; i++)
        {
            int window = i % 2 == 0 ? 16 * 1024 : 1 << 20;
            ConnectedPair pair = await harness.ConnectAsync(
                listener, beforeConnect: client => client.ReceiveBufferSize = window);
            clients.Add(ExchangeAsync(pair, new Random(i), i % 3 == 2));
        }

        await Task.WhenAll(clients).InTime();
        Assert.True(!KernelCan || Sum(harness, "zero_copies") > 12);
        await Eventually.True(() => Sum(harness, "held_bytes") == 0, () => $"{Sum(harness, "held_bytes")} bytes held");
        await harness.StopAsync();
        await Eventually.True(() => harness.Memory.BlocksOut == 0, () => $"{harness.Memory.BlocksOut} blocks out");
    }

    /// <summary>A peer that reads nothing: what the kernel holds is bounded, and a flush waits as ever.</summary>
    [Fact]
    public async Task Write_ClientReadsNothing_FlushWaitsAndLittleIsHeld()
    {
        const int Piece = 1 << 20;
        await using TransportHarness harness = Create(1, always: true);
        ConnectedPair pair = await harness.ConnectAsync(beforeConnect: client => client.ReceiveBufferSize = 16 * 1024);
        int written = 0;
        Task flush;
        do
        {
            Assert.True(written < 256 << 20, "back-pressure never came");
            flush = pair.Server.Transport.Output.WriteAsync(new byte[Piece]).AsTask();
            written += Piece;
        }
        while (await Task.WhenAny(flush, Task.Delay(300)) == flush);

        Assert.InRange(Sum(harness, "held_bytes"), 0, 8 << 20);
        Task<byte[]> received = pair.Client.ReceiveExactlyAsync(written);
        await flush.InTime();
        Assert.Equal(written, (await received.InTime()).Length);
    }

    /// <summary>The connection does not wait for its memory, and its end is no end of that.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Connection_ClosedWithMemoryOut_EndsAsEver(bool abort)
    {
        await using TransportHarness harness = Create(1, always: true, settings =>
        {
            settings.TrackMemory = true;
            settings.MaxWriteBufferSize = 0;
        });
        ConnectedPair pair = await harness.ConnectAsync(beforeConnect: client => client.ReceiveBufferSize = 16 * 1024);
        await pair.Server.Transport.Output.WriteAsync(Client.Pattern(4 << 20)).InTime();
        if (abort)
        {
            pair.Server.Abort(new ConnectionAbortedException("because"));
        }

        Task dispose = pair.Server.DisposeAsync().AsTask();
        if (!abort)
        {
            Assert.Equal(Client.Pattern(4 << 20), await pair.Client.ReceiveToEndAsync().InTime());
        }

        await dispose.InTime();
        await Eventually.True(() => Sum(harness, "held_bytes") == 0);
        await harness.StopAsync();
        await Eventually.True(() => harness.Memory.BlocksOut == 0, () => $"{harness.Memory.BlocksOut} blocks out");
    }

    private static async Task ExchangeAsync(ConnectedPair pair, Random random, bool leaves)
    {
        int bytes = 1_500_000 + random.Next(1_000_000);
        byte[] body = Client.Pattern(bytes, random.Next());
        Task writing = WriteAsync(pair, body, random.Next());
        if (leaves)
        {
            await pair.Client.ReceiveExactlyAsync(200_000);
            pair.Client.Reset();
            await writing;
            return;
        }

        byte[] received = await pair.Client.ReceiveToEndAsync();
        await writing;
        Assert.Equal(SHA256.HashData(body), SHA256.HashData(received));
    }

    private static async Task WriteAsync(ConnectedPair pair, byte[] body, int seed)
    {
        Random random = new(seed);
        for (int at = 0; at < body.Length;)
        {
            int part = Math.Min(body.Length - at, random.Next(3) == 0 ? random.Next(5_000) : random.Next(200_000));
            if ((await pair.Server.Transport.Output.WriteAsync(body.AsMemory(at, part))).IsCompleted)
            {
                break;
            }

            at += part;
        }

        await pair.Server.Transport.Output.CompleteAsync();
        await pair.Server.DisposeAsync();
    }

    private static async Task RoundAsync(ConnectedPair pair, int bytes, int seed)
    {
        byte[] body = Client.Pattern(bytes, seed);
        await pair.Server.Transport.Output.WriteAsync(body).InTime();
        Assert.Equal(SHA256.HashData(body), SHA256.HashData(await pair.Client.ReceiveExactlyAsync(bytes)));
    }

    private static TransportHarness Create(
        int threshold, bool always, Action<TransportSettings>? configure = null) =>
        TransportHarness.Create(TransportKind.MegaPipe, settings =>
        {
            configure?.Invoke(settings);
            settings.MegaPipe = options =>
            {
                options.Channels = 1;
                options.ZeroCopyThreshold = threshold;
                options.ZeroCopyAlways = always;
            };
        });

    private static long Sum(TransportHarness harness, string counter) => LeakCheck.Sum(harness.Status, counter);
}
