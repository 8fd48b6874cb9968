// Writing: memory asked for and advanced, what is flushed and when, back-pressure, and how output ends.
using System.Buffers;
using System.IO.Pipelines;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Pipes;

public abstract class PipeWriterContract(PipeKind kind)
{
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(4_096)]
    [InlineData(4_097)]
    [InlineData(100_000)]
    [InlineData(1_000_000)]
    public async Task GetMemory_SizeHint_AtLeastThatAndNeverEmpty(int sizeHint)
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        int least = Math.Max(1, sizeHint);
        Assert.True(pipe.Writer.GetMemory(sizeHint).Length >= least);
        Assert.True(pipe.Writer.GetSpan(sizeHint).Length >= least);
        // Also when the current block has little left.
        int nearlyAll = pipe.Writer.GetMemory().Length - 1;
        byte[] expected = Client.Pattern(nearlyAll + least);
        expected.AsSpan(0, nearlyAll).CopyTo(pipe.Writer.GetSpan());
        pipe.Writer.Advance(nearlyAll);
        Span<byte> span = pipe.Writer.GetSpan(sizeHint);
        Assert.True(span.Length >= least);
        expected.AsSpan(nearlyAll).CopyTo(span);
        pipe.Writer.Advance(least);
        Task<byte[]> drained = pipe.DrainAsync(expected.Length);
        await pipe.Writer.FlushAsync().InTime();
        Assert.Equal(expected, await drained.InTime());
    }

    [Fact]
    public async Task GetSpanZero_AfterEveryAdvance_GivesRoomUntilAnySizeIsWritten()
    {
        const int Total = 20_000;
        byte[] bytes = Client.Pattern(Total);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        int written = 0;
        while (written < Total)
        {
            Span<byte> span = pipe.Writer.GetSpan(0);
            Assert.False(span.IsEmpty);
            int now = Math.Min(Math.Min(span.Length, 777), Total - written);
            bytes.AsSpan(written, now).CopyTo(span);
            pipe.Writer.Advance(now);
            written += now;
        }

        await pipe.Writer.FlushAsync().InTime();
        Assert.Equal(bytes, await pipe.DrainAsync(Total));
    }

    [Fact]
    public async Task Advance_SeveralTimesInOneMemory_BytesAreContiguous()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Memory<byte> memory = pipe.Writer.GetMemory(16);
        "0123456789abcdef"u8.CopyTo(memory.Span);
        pipe.Writer.Advance(3);
        pipe.Writer.Advance(0);
        pipe.Writer.Advance(5);
        pipe.Writer.Advance(8);
        // The memory after what was advanced is the same memory.
        Memory<byte> next = pipe.Writer.GetMemory(1);
        Assert.True(next.Span.Overlaps(memory.Span, out int offset) == (memory.Length > 16));
        Assert.True(memory.Length <= 16 || offset == -16);
        next.Span[0] = (byte)'!';
        pipe.Writer.Advance(1);
        await pipe.Writer.FlushAsync().InTime();
        Assert.Equal("0123456789abcdef!"u8.ToArray(), await pipe.DrainAsync(17));
    }

    [Fact]
    public async Task GetMemory_AskedAgainWithoutAdvance_NothingIsWritten()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        pipe.Writer.GetMemory(10).Span.Fill((byte)'n');
        pipe.Writer.GetMemory(10).Span.Fill((byte)'n');
        pipe.Writer.GetMemory(10_000).Span.Fill((byte)'n');
        "yes"u8.CopyTo(pipe.Writer.GetSpan(3));
        pipe.Writer.Advance(3);
        await pipe.Writer.FlushAsync().InTime();
        await pipe.Writer.CompleteAsync();
        Assert.Equal("yes"u8.ToArray(), await pipe.DrainToEndAsync());
    }

    [Fact]
    public async Task GetMemory_AfterFlush_DoesNotTouchWhatIsBeingSent()
    {
        const int Rounds = 500;
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<byte[]> drained = pipe.DrainAsync(Rounds * 100);
        byte[] expected = Client.Pattern(Rounds * 100);
        for (int i = 0; i < Rounds; i++)
        {
            expected.AsSpan(i * 100, 100).CopyTo(pipe.Writer.GetSpan(100));
            pipe.Writer.Advance(100);
            await pipe.Writer.FlushAsync().InTime();
            // Scribbles on the memory behind the flushed bytes, which the next round overwrites.
            pipe.Writer.GetSpan(100).Fill(0xAA);
        }

        Assert.Equal(expected, await drained.InTime());
    }

    [Fact]
    public async Task UnflushedBytes_WriteAndFlush_CountsWhatIsNotFlushed()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Assert.True(pipe.Writer.CanGetUnflushedBytes);
        Assert.Equal(0, pipe.Writer.UnflushedBytes);
        pipe.Writer.GetMemory(100);
        Assert.Equal(0, pipe.Writer.UnflushedBytes);
        pipe.Writer.Advance(7);
        Assert.Equal(7, pipe.Writer.UnflushedBytes);
        pipe.Writer.Write(new byte[10_000]);
        Assert.Equal(10_007, pipe.Writer.UnflushedBytes);
        await pipe.Writer.FlushAsync().InTime();
        Assert.Equal(0, pipe.Writer.UnflushedBytes);
        await pipe.Writer.WriteAsync(new byte[5]).InTime();
        Assert.Equal(0, pipe.Writer.UnflushedBytes);
        await pipe.DrainAsync(10_012);
    }

    [Fact]
    public async Task Write_NotFlushed_IsNotSentBeforeTheFlush()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        pipe.Writer.Write("held"u8);
        // A round trip in the other direction: an eager write would have arrived before it ends.
        await pipe.FeedAsync("x");
        await pipe.Reader.ReadExactlyAsync(1);
        Assert.False(pipe.HasUndrained);
        await pipe.Writer.FlushAsync().InTime();
        Assert.Equal("held"u8.ToArray(), await pipe.DrainAsync(4));
    }

    [Fact]
    public async Task Flush_NothingWritten_CompletesAtOnce()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        for (int i = 0; i < 3; i++)
        {
            ValueTask<FlushResult> flush = pipe.Writer.FlushAsync();
            Assert.True(flush.IsCompletedSuccessfully);
            FlushResult result = await flush;
            Assert.False(result.IsCompleted);
            Assert.False(result.IsCanceled);
        }

        Assert.False((await pipe.Writer.WriteAsync(ReadOnlyMemory<byte>.Empty).InTime()).IsCompleted);
        await pipe.Writer.WriteAsync("x"u8.ToArray()).InTime();
        Assert.Equal("x"u8.ToArray(), await pipe.DrainAsync(1));
    }

    [Theory]
    [InlineData(100_000)]
    [InlineData(10_000_000)]
    public async Task WriteAsync_MoreThanTheLimitInOne_AllArrives(int count)
    {
        byte[] bytes = Client.Pattern(count);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<byte[]> drained = pipe.DrainAsync(count);
        Assert.False((await pipe.Writer.WriteAsync(bytes).InTime()).IsCompleted);
        Assert.Equal(bytes, await drained.InTime());
    }

    [Fact]
    public async Task Flush_NobodyDrains_WaitsUntilDrained()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        (Task<FlushResult> flush, int written) = await pipe.WriteUntilBlockedAsync();
        await pipe.DrainAsync(written);
        FlushResult result = await flush.InTime();
        Assert.False(result.IsCompleted);
        Assert.False(result.IsCanceled);
        ValueTask<FlushResult> next = pipe.Writer.WriteAsync("x"u8.ToArray());
        Assert.True(next.IsCompletedSuccessfully);
        await next;
    }

    [Fact]
    public async Task Flush_DrainEndsWhileWaiting_Completed()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        (Task<FlushResult> flush, _) = await pipe.WriteUntilBlockedAsync();
        await pipe.EndDrainAsync();
        Assert.True((await flush.InTime()).IsCompleted);
    }

    [Fact]
    public async Task Flush_DrainHasEnded_CompletedAndWritesAreDropped()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.EndDrainAsync();
        FlushResult result = default;
        for (int i = 0; i < 1_000 && !result.IsCompleted; i++)
        {
            result = await pipe.Writer.WriteAsync(new byte[1_000]).InTime();
        }

        Assert.True(result.IsCompleted);
        for (int i = 0; i < 100; i++)
        {
            // Never waits, although far more than the limit is written.
            Assert.True((await pipe.Writer.WriteAsync(new byte[PipeUnderTest.WriteLimit]).InTime()).IsCompleted);
        }
    }

    [Fact]
    public async Task Complete_UnflushedBytes_AreSentAndThenTheEnd()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.Writer.WriteAsync("flushed "u8.ToArray()).InTime();
        pipe.Writer.Write("and not"u8);
        await pipe.Writer.CompleteAsync();
        Assert.Equal("flushed and not"u8.ToArray(), await pipe.DrainToEndAsync());
    }

    [Fact]
    public async Task Flush_ContinuationOfAsyncLocal_KeepsItsContext()
    {
        AsyncLocal<string> local = new() { Value = "mine" };
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        (Task<FlushResult> flush, int written) = await pipe.WriteUntilBlockedAsync();
        Task drain;
        using (ExecutionContext.SuppressFlow())
        {
            drain = Task.Run(() => pipe.DrainAsync(written));
        }

        await flush;
        Assert.Equal("mine", local.Value);
        await drain.InTime();
    }
}
