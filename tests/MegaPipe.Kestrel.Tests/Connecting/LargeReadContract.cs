// Streams of data into memory of the caller's own: what a reader that takes past the leases may get wrong.
using System.Net.Sockets;
using System.Security.Cryptography;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Connecting;

public abstract class LargeReadContract(TransportKind kind)
{
    private const byte Untouched = 0xCD;
    private const int Large = 64 * 1024;

    /// <summary>
    /// A backend that sends in bursts and waits in between; reads of all sizes, of nothing too. What lies behind the
    /// bytes that a read has brought stays as it was.
    /// </summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public async Task Bursts_ReadsOfAllSizes_EveryByteOnceAndNothingElseWritten(int seed)
    {
        const int Bursts = 40;
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        Random random = new(seed);
        byte[] sent = new byte[Bursts * 3 * Large];
        random.NextBytes(sent);
        Task send = Task.Run(async () =>
        {
            Random bursts = new(seed + 1000);
            int at = 0;
            while (at < sent.Length)
            {
                int bytes = Math.Min(
                    bursts.Next(4) == 0 ? bursts.Next(1, 5000) : bursts.Next(1, 6 * Large), sent.Length - at);
                await pair.Backend.SendAllAsync(sent.AsMemory(at, bytes).ToArray());
                at += bytes;
                if (bursts.Next(4) == 0)
                {
                    await Task.Delay(1);
                }
            }

            pair.Backend.Shutdown(SocketShutdown.Send);
        });
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        byte[] buffer = new byte[2 * Large];
        long received = 0;
        while (true)
        {
            if (random.Next(2) == 0)
            {
                Assert.Equal(0, await pair.Stream.ReadAsync(Memory<byte>.Empty).InTime());
            }

            int offset = random.Next(100);
            int length = random.Next(4) == 0 ? random.Next(1, 5000) : random.Next(Large / 4, Large);
            buffer.AsSpan().Fill(Untouched);
            int bytes = await pair.Stream.ReadAsync(buffer.AsMemory(offset, length)).InTime();
            Assert.InRange(bytes, 0, length);
            Assert.Equal(-1, buffer.AsSpan(0, offset).IndexOfAnyExcept(Untouched));
            Assert.Equal(-1, buffer.AsSpan(offset + bytes).IndexOfAnyExcept(Untouched));
            if (bytes == 0)
            {
                break;
            }

            hash.AppendData(buffer, offset, bytes);
            received += bytes;
        }

        await send.InTime();
        Assert.Equal(sent.Length, received);
        Assert.Equal(SHA256.HashData(sent), hash.GetHashAndReset());
        Assert.Equal(0, await pair.Stream.ReadAsync(buffer).InTime());
    }

    /// <summary>A read that a token ended has taken nothing, and gives its memory back.</summary>
    [Fact]
    public async Task Tokens_CanceledAnywhere_NoByteIsLostAndNoMemoryWrittenLater()
    {
        const int Bytes = 8 << 20;
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        byte[] sent = Client.Pattern(Bytes);
        Task send = Task.Run(async () =>
        {
            for (int at = 0; at < Bytes; at += 2 * Large)
            {
                await pair.Backend.SendAllAsync(sent.AsMemory(at, 2 * Large).ToArray());
                await Task.Delay(1);
            }
        });
        byte[] received = new byte[Bytes];
        Random random = new(7);
        int got = 0, canceled = 0;
        for (int i = 0; got < Bytes; i++)
        {
            byte[] buffer = new byte[Large];
            buffer.AsSpan().Fill(Untouched);
            using CancellationTokenSource cancel = new();
            ValueTask<int> read = pair.Stream.ReadAsync(buffer, cancel.Token);
            if (i % 3 == 0)
            {
                _ = random.Next(2) == 0 ? cancel.CancelAsync() : Task.Run(cancel.Cancel);
            }

            try
            {
                int bytes = await read.InTime();
                Assert.NotEqual(0, bytes);
                buffer.AsSpan(0, bytes).CopyTo(received.AsSpan(got));
                Assert.Equal(-1, buffer.AsSpan(bytes).IndexOfAnyExcept(Untouched));
                got += bytes;
            }
            catch (OperationCanceledException)
            {
                canceled++;
                await AssertNotWrittenAsync(buffer);
            }
        }

        await send.InTime();
        Assert.True(sent.AsSpan().SequenceEqual(received), $"{canceled} canceled");
    }

    /// <summary>
    /// The backend breaks off, or the stream is disposed: each read ends, and each has given its memory back.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task EndInTheMiddle_EveryReadEndsAndItsMemoryIsItsOwn(bool dispose)
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = harness.Listen();
        Random random = new(dispose ? 11 : 12);
        for (int round = 0; round < 24; round++)
        {
            StreamPair pair = await harness.StreamsAsync(listener);
            byte[] sent = Client.Pattern(1 << 20);
            int breakAfter = random.Next(1, sent.Length);
            Task send = Task.Run(async () =>
            {
                try
                {
                    await pair.Backend.SendAllAsync(sent.AsMemory(0, breakAfter).ToArray());
                    if (!dispose)
                    {
                        pair.Backend.Reset();
                    }
                }
                catch (Exception error) when (error is SocketException or ObjectDisposedException)
                {
                }
            });
            int stopAt = random.Next(breakAfter);
            int got = 0;
            Task? disposing = null;
            byte[] buffer = new byte[Large];
            while (true)
            {
                buffer.AsSpan().Fill(Untouched);
                Exception? error = null;
                int bytes = 0;
                ValueTask<int> read = default;
                try
                {
                    read = pair.Stream.ReadAsync(buffer);
                    if (dispose && got >= stopAt)
                    {
                        disposing ??= Task.Run(pair.Stream.Dispose);
                    }

                    bytes = await read.InTime();
                }
                catch (Exception caught) when (caught is IOException or ObjectDisposedException)
                {
                    error = caught;
                }

                if (error is not null || bytes == 0)
                {
                    await AssertNotWrittenAsync(buffer);
                    break;
                }

                Assert.True(sent.AsSpan(got, bytes).SequenceEqual(buffer.AsSpan(0, bytes)), $"at {got}");
                Assert.Equal(-1, buffer.AsSpan(bytes).IndexOfAnyExcept(Untouched));
                got += bytes;
            }

            Assert.InRange(got, 0, breakAfter);
            await (disposing ?? Task.CompletedTask).InTime();
            pair.Stream.Dispose();
            pair.Backend.Dispose();
            await send.InTime();
        }
    }

    /// <summary>A pin that is not given back keeps its array for ever.</summary>
    [Fact]
    public async Task Memory_IsCollectedAfterItsRead()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        byte[] sent = Client.Pattern(4 << 20);
        Task send = pair.Backend.SendAllAsync(sent);
        List<WeakReference> arrays = [];
        for (int got = 0; got < sent.Length;)
        {
            (int bytes, WeakReference array) = await ReadAsync(pair.Stream, sent, got);
            arrays.Add(array);
            got += bytes;
        }

        await send.InTime();
        await Eventually.True(
            () =>
            {
                GC.Collect();
                return arrays.Count(array => array.IsAlive) < 4; // the last ones may be in somebody's registers
            },
            () => $"{arrays.Count(array => array.IsAlive)} of {arrays.Count} are kept");
    }

    /// <summary>A read that has ended writes no more.</summary>
    private static async Task AssertNotWrittenAsync(byte[] buffer)
    {
        buffer.AsSpan().Fill(Untouched);
        await Task.Delay(2);
        Assert.Equal(-1, buffer.AsSpan().IndexOfAnyExcept(Untouched));
    }

    private static async Task<(int Bytes, WeakReference Array)> ReadAsync(Stream stream, byte[] expected, int at)
    {
        byte[] array = new byte[Large];
        int bytes = await stream.ReadAsync(array).InTime();
        Assert.True(expected.AsSpan(at, bytes).SequenceEqual(array.AsSpan(0, bytes)), $"at {at}");
        return (bytes, new WeakReference(array));
    }
}
