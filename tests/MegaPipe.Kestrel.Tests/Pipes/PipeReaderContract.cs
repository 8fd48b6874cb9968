// Reading: what is consumed, what is examined, when a read waits, and how input ends.
using System.Buffers;
using System.IO.Pipelines;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Pipes;

public abstract class PipeReaderContract(PipeKind kind)
{
    [Fact]
    public async Task Read_NothingFed_WaitsUntilBytesCome()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        ValueTask<ReadResult> read = pipe.Reader.ReadAsync();
        Assert.False(read.IsCompleted);
        await pipe.FeedAsync("x");
        ReadResult result = await read.InTime();
        Assert.Equal("x"u8.ToArray(), result.Buffer.ToArray());
        Assert.False(result.IsCompleted);
        Assert.False(result.IsCanceled);
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task Read_BufferedBytes_CompletesAtOnce()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("hello");
        ValueTask<ReadResult> read = pipe.Reader.ReadAsync();
        Assert.True(read.IsCompletedSuccessfully);
        ReadResult result = await read;
        Assert.Equal("hello"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task Read_ExaminedAllConsumedNothing_WaitsForMoreAndGivesBoth()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("abc");
        ReadResult result = await pipe.Reader.ReadAsync().InTime();
        pipe.Reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        ValueTask<ReadResult> read = pipe.Reader.ReadAsync();
        Assert.False(read.IsCompleted);
        await pipe.FeedAsync("d");
        result = await read.InTime();
        Assert.Equal("abcd"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task Read_ConsumedSomeExaminedAll_WaitsForMoreAndGivesTheRest()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("abc");
        ReadResult result = await pipe.Reader.ReadAsync().InTime();
        pipe.Reader.AdvanceTo(result.Buffer.GetPosition(2), result.Buffer.End);
        ValueTask<ReadResult> read = pipe.Reader.ReadAsync();
        Assert.False(read.IsCompleted);
        await pipe.FeedAsync("d");
        result = await read.InTime();
        Assert.Equal("cd"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task Read_ExaminedLessThanAll_CompletesAtOnceWithTheRest()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("abcdef");
        ReadResult result = await pipe.Reader.ReadAsync().InTime();
        pipe.Reader.AdvanceTo(result.Buffer.GetPosition(1), result.Buffer.GetPosition(5));
        ValueTask<ReadResult> read = pipe.Reader.ReadAsync();
        Assert.True(read.IsCompletedSuccessfully);
        result = await read;
        Assert.Equal("bcdef"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.Start);
        // Consumed only: examined is the same place, so the bytes come again at once.
        read = pipe.Reader.ReadAsync();
        Assert.True(read.IsCompletedSuccessfully);
        result = await read;
        Assert.Equal("bcdef"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task Read_BufferHeldWhileMoreArrives_KeepsItsBytes()
    {
        byte[] first = Client.Pattern(5_000, 1);
        byte[] second = Client.Pattern(50_000, 2);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync(first);
        ReadResult held = await pipe.Reader.ReadAsync().InTime();
        await pipe.FeedAsync(second);
        Assert.Equal(first, held.Buffer.ToArray());
        pipe.Reader.AdvanceTo(held.Buffer.Start, held.Buffer.End);
        ReadResult all = await pipe.Reader.WaitForAsync(first.Length + second.Length);
        Assert.Equal([.. first, .. second], all.Buffer.ToArray());
        pipe.Reader.AdvanceTo(all.Buffer.End);
    }

    [Fact]
    public async Task Read_OneByteAtATimeNothingConsumed_AllBytesStayInOrder()
    {
        const int Count = 600;
        byte[] bytes = Client.Pattern(Count);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        for (int i = 0; i < Count; i++)
        {
            await pipe.FeedAsync(bytes.AsMemory(i, 1));
            ReadResult result = await pipe.Reader.ReadAsync().InTime();
            Assert.Equal(i + 1, result.Buffer.Length);
            Assert.True(result.Buffer.ToArray().AsSpan().SequenceEqual(bytes.AsSpan(0, i + 1)), $"differs at {i}");
            pipe.Reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        }

        await pipe.EndFeedAsync();
        Assert.Equal(bytes, await pipe.Reader.ReadToEndAsync());
    }

    [Fact]
    public async Task Read_SecondSegmentConsumedHalf_RestAndLaterBytesFollow()
    {
        byte[] bytes = Client.Pattern(20_000);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync(bytes.AsMemory(0, 12_000));
        ReadResult result = await pipe.Reader.ReadAsync().InTime();
        pipe.Reader.AdvanceTo(result.Buffer.GetPosition(6_001));
        await pipe.FeedAsync(bytes.AsMemory(12_000));
        result = await pipe.Reader.WaitForAsync(20_000 - 6_001);
        Assert.Equal(bytes[6_001..], result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task Read_AfterEnd_LastBytesThenCompletedForEver()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("last");
        await pipe.EndFeedAsync();
        ReadResult result = await pipe.Reader.ReadAsync().InTime();
        while (!result.IsCompleted)
        {
            pipe.Reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
            result = await pipe.Reader.ReadAsync().InTime();
        }

        Assert.Equal("last"u8.ToArray(), result.Buffer.ToArray());
        // Examining everything does not wait any more: nothing can come.
        pipe.Reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        result = await pipe.Reader.ReadAsync().InTime();
        Assert.True(result.IsCompleted);
        Assert.Equal(4, result.Buffer.Length);
        pipe.Reader.AdvanceTo(result.Buffer.End);
        for (int i = 0; i < 3; i++)
        {
            result = await pipe.Reader.ReadAsync().InTime();
            Assert.True(result.IsCompleted);
            Assert.True(result.Buffer.IsEmpty);
            pipe.Reader.AdvanceTo(result.Buffer.End);
        }
    }

    [Fact]
    public async Task Read_PendingAtEnd_CompletesEmpty()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<ReadResult> read = pipe.Reader.ReadAsync().AsTask();
        await pipe.EndFeedAsync();
        ReadResult result = await read.InTime();
        Assert.True(result.IsCompleted);
        Assert.True(result.Buffer.IsEmpty);
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task Read_PendingAtFault_ThrowsIt()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<ReadResult> read = pipe.Reader.ReadAsync().AsTask();
        await pipe.FaultFeedAsync();
        await Assert.ThrowsAsync(pipe.FaultType, () => read.InTime("faulted read"));
    }

    [Fact]
    public async Task Read_FaultWithUnreadBytes_ThrowsEveryTime()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("unread");
        await pipe.FaultFeedAsync();
        await Assert.ThrowsAsync(pipe.FaultType, () => pipe.Reader.ReadAsync().InTime());
        await Assert.ThrowsAsync(pipe.FaultType, () => pipe.Reader.ReadAsync().InTime());
        Assert.Throws(pipe.FaultType, () => { pipe.Reader.TryRead(out _); });
    }

    [Fact]
    public async Task TryRead_EveryState_SaysWhetherThereIsAnythingNew()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Assert.False(pipe.Reader.TryRead(out _));
        await pipe.FeedAndArriveAsync("ab");
        Assert.True(pipe.Reader.TryRead(out ReadResult result));
        Assert.Equal("ab"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        Assert.False(pipe.Reader.TryRead(out _));
        await pipe.FeedAsync("c");
        await Eventually.True(() => pipe.Reader.TryRead(out result));
        Assert.Equal("abc"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.End);
        Assert.False(pipe.Reader.TryRead(out _));
        await pipe.EndFeedAsync();
        await Eventually.True(() => pipe.Reader.TryRead(out result));
        Assert.True(result.IsCompleted);
        pipe.Reader.AdvanceTo(result.Buffer.End);
        Assert.True(pipe.Reader.TryRead(out result));
        Assert.True(result.IsCompleted);
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4_097)]
    [InlineData(300_000)]
    public async Task ReadAtLeast_FedInPieces_ReturnsWithAtLeastThatMany(int minimum)
    {
        byte[] bytes = Client.Pattern(minimum + 10);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<ReadResult> read = pipe.Reader.ReadAtLeastAsync(minimum).AsTask();
        int pieces = Math.Min(10, minimum);
        for (int i = 0; i < pieces; i++)
        {
            int start = (int)((long)bytes.Length * i / pieces);
            int end = (int)((long)bytes.Length * (i + 1) / pieces);
            await pipe.FeedAsync(bytes.AsMemory(start, end - start));
        }

        ReadResult result = await read.InTime();
        Assert.True(result.Buffer.Length >= minimum);
        Assert.False(result.IsCompleted);
        Assert.True(result.Buffer.ToArray().AsSpan().SequenceEqual(bytes.AsSpan(0, (int)result.Buffer.Length)));
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task ReadAtLeast_EndsBefore_CompletedWithWhatThereIs()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<ReadResult> read = pipe.Reader.ReadAtLeastAsync(100).AsTask();
        await pipe.FeedAsync("short");
        await pipe.EndFeedAsync();
        ReadResult result = await read.InTime();
        Assert.True(result.IsCompleted);
        Assert.Equal("short"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task ReadAtLeast_EnoughBuffered_CompletesAtOnce()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("enough");
        ValueTask<ReadResult> read = pipe.Reader.ReadAtLeastAsync(6);
        Assert.True(read.IsCompletedSuccessfully);
        ReadResult result = await read;
        pipe.Reader.AdvanceTo(result.Buffer.Start);
        // Zero asks for nothing and so waits for nothing beyond what any read gives.
        result = await pipe.Reader.ReadAtLeastAsync(0).InTime();
        Assert.Equal(6, result.Buffer.Length);
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task Read_ContinuationOfAsyncLocal_KeepsItsContext()
    {
        AsyncLocal<string> local = new() { Value = "mine" };
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        for (int i = 0; i < 20; i++)
        {
            ValueTask<ReadResult> read = pipe.Reader.ReadAsync();
            using (ExecutionContext.SuppressFlow())
            {
                _ = Task.Run(() => pipe.FeedAsync("x"));
            }

            ReadResult result = await read;
            Assert.Equal("mine", local.Value);
            pipe.Reader.AdvanceTo(result.Buffer.End);
        }
    }

    [Fact]
    public async Task Read_SequenceOperations_AgreeOnPositions()
    {
        byte[] bytes = Client.Pattern(40_000);
        bytes.AsSpan().Replace((byte)0xEE, (byte)0);
        bytes[31_234] = 0xEE;
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAsync(bytes);
        ReadResult result = await pipe.Reader.WaitForAsync(bytes.Length);
        SequencePosition? found = result.Buffer.PositionOf((byte)0xEE);
        Assert.NotNull(found);
        Assert.Equal(31_234, result.Buffer.Slice(0, found.Value).Length);
        Assert.Equal(31_234, result.Buffer.GetOffset(found.Value) - result.Buffer.GetOffset(result.Buffer.Start));
        pipe.Reader.AdvanceTo(found.Value);
        result = await pipe.Reader.WaitForAsync(bytes.Length - 31_234);
        Assert.Equal(0xEE, result.Buffer.FirstSpan[0]);
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }
}
