// Random reading and writing from several threads, against the bytes that must come out; seeds are printed.
using System.Buffers;
using System.IO.Pipelines;
using MegaPipe.Kestrel.Tests.Support;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Pipes;

public abstract class PipeStressContract(PipeKind kind, ITestOutputHelper output)
{
    private const int Total = 3_000_000;

    [Fact]
    public async Task Reader_RandomFeedsAndAdvances_EveryByteInOrder()
    {
        int seed = NewSeed();
        byte[] bytes = Client.Pattern(Total, seed);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task feed = Task.Run(() => FeedAsync(pipe, bytes, new Random(seed)));
        await ReadAndCheckAsync(pipe.Reader, bytes, new Random(seed + 1), seed);
        await feed.InTime();
    }

    [Fact]
    public async Task Reader_CanceledAtRandom_EveryByteInOrder()
    {
        int seed = NewSeed();
        byte[] bytes = Client.Pattern(Total, seed);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        using CancellationTokenSource done = new();
        Task feed = Task.Run(() => FeedAsync(pipe, bytes, new Random(seed)));
        Task cancel = Task.Run(async () =>
        {
            Random random = new(seed + 2);
            while (!done.IsCancellationRequested)
            {
                pipe.Reader.CancelPendingRead();
                for (int spins = random.Next(1, 50); spins > 0; spins--)
                {
                    await Task.Yield();
                }
            }
        });
        await ReadAndCheckAsync(pipe.Reader, bytes, new Random(seed + 1), seed);
        await done.CancelAsync();
        await cancel.InTime();
        await feed.InTime();
    }

    [Fact]
    public async Task Writer_RandomSizesAndFlushes_EveryByteInOrder()
    {
        int seed = NewSeed();
        byte[] bytes = Client.Pattern(Total, seed);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<byte[]> drained = Task.Run(pipe.DrainToEndAsync);
        await WriteAsync(pipe.Writer, bytes, new Random(seed));
        await pipe.Writer.CompleteAsync();
        AssertSame(bytes, await drained.InTime(), seed);
    }

    [Fact]
    public async Task Writer_FlushesCanceledAtRandom_EveryByteInOrder()
    {
        int seed = NewSeed();
        byte[] bytes = Client.Pattern(Total, seed);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        using CancellationTokenSource done = new();
        Task<byte[]> drained = Task.Run(pipe.DrainToEndAsync);
        Task cancel = Task.Run(async () =>
        {
            Random random = new(seed + 2);
            while (!done.IsCancellationRequested)
            {
                pipe.Writer.CancelPendingFlush();
                for (int spins = random.Next(1, 50); spins > 0; spins--)
                {
                    await Task.Yield();
                }
            }
        });
        await WriteAsync(pipe.Writer, bytes, new Random(seed));
        await done.CancelAsync();
        await cancel.InTime();
        await pipe.Writer.CompleteAsync();
        AssertSame(bytes, await drained.InTime(), seed);
    }

    [Fact]
    public async Task Duplex_BothDirectionsFromFourThreads_EveryByteInOrder()
    {
        int seed = NewSeed();
        byte[] up = Client.Pattern(Total, seed);
        byte[] down = Client.Pattern(Total, seed + 1);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task feed = Task.Run(() => FeedAsync(pipe, up, new Random(seed)));
        Task<byte[]> drained = Task.Run(() => pipe.DrainAsync(Total));
        Task write = Task.Run(() => WriteAsync(pipe.Writer, down, new Random(seed + 2)));
        Task read = Task.Run(() => ReadAndCheckAsync(pipe.Reader, up, new Random(seed + 3), seed));
        await Task.WhenAll(feed, read, write, drained).InTime();
        AssertSame(down, await drained, seed);
    }

    private static void AssertSame(byte[] expected, byte[] actual, int seed) =>
        Assert.True(expected.AsSpan().SequenceEqual(actual), $"seed {seed}: {actual.Length} bytes came");

    private int NewSeed()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        return seed;
    }

    private static async Task FeedAsync(PipeUnderTest pipe, byte[] bytes, Random random)
    {
        for (int position = 0; position < bytes.Length;)
        {
            int count = Math.Min(NextSize(random), bytes.Length - position);
            await pipe.FeedAsync(bytes.AsMemory(position, count));
            position += count;
        }

        await pipe.EndFeedAsync();
    }

    private static async Task WriteAsync(PipeWriter writer, byte[] bytes, Random random)
    {
        for (int position = 0; position < bytes.Length;)
        {
            int count = Math.Min(NextSize(random), bytes.Length - position);
            ReadOnlyMemory<byte> now = bytes.AsMemory(position, count);
            position += count;
            switch (random.Next(4))
            {
                case 0:
                    await writer.WriteAsync(now).InTime();
                    break;
                case 1:
                    now.CopyTo(writer.GetMemory(count));
                    writer.Advance(count);
                    break;
                case 2:
                    writer.Write(now.Span);
                    await writer.FlushAsync().InTime();
                    break;
                default:
                    now.Span.CopyTo(writer.GetSpan(count));
                    writer.Advance(count / 2);
                    writer.Advance(count - (count / 2));
                    await writer.FlushAsync().InTime();
                    break;
            }
        }

        await writer.FlushAsync().InTime();
    }

    private static async Task ReadAndCheckAsync(PipeReader reader, byte[] expected, Random random, int seed)
    {
        long position = 0;
        while (true)
        {
            ReadResult result = await reader.ReadAsync().InTime();
            ReadOnlySequence<byte> buffer = result.Buffer;
            long offset = position;
            foreach (ReadOnlyMemory<byte> segment in buffer)
            {
                Assert.True(
                    segment.Span.SequenceEqual(expected.AsSpan((int)offset, segment.Length)),
                    $"seed {seed}: differs near {offset}");
                offset += segment.Length;
            }

            if (result.IsCompleted)
            {
                Assert.Equal(expected.Length, offset);
                reader.AdvanceTo(buffer.End);
                return;
            }

            long consumed = random.Next(4) switch
            {
                0 => 0,
                1 => buffer.Length,
                _ => random.NextInt64(buffer.Length + 1),
            };
            // Bounds the check's own cost: a buffer that grows for ever would be compared for ever.
            consumed = buffer.Length > 200_000 ? buffer.Length : consumed;
            position += consumed;
            SequencePosition at = buffer.GetPosition(consumed);
            SequencePosition examined = random.Next(3) == 0
                ? buffer.GetPosition(random.NextInt64(buffer.Length - consumed + 1), at)
                : buffer.End;
            reader.AdvanceTo(at, examined);
        }
    }

    private static int NextSize(Random random) => random.Next(5) switch
    {
        0 => random.Next(1, 16),
        1 => random.Next(1, 256),
        2 => random.Next(4_090, 4_102),
        3 => random.Next(1, 5_000),
        _ => random.Next(1, 80_000),
    };
}
