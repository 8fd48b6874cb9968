// Cancelling reads and flushes, by the pipe's own methods and by tokens; nothing is lost by it.
using System.Buffers;
using System.IO.Pipelines;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Pipes;

public abstract class PipeCancellationContract(PipeKind kind)
{
    [Fact]
    public async Task CancelPendingRead_Pending_ReadIsCanceledAndTheNextIsNot()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<ReadResult> read = pipe.Reader.ReadAsync().AsTask();
        pipe.Reader.CancelPendingRead();
        ReadResult result = await read.InTime();
        Assert.True(result.IsCanceled);
        Assert.False(result.IsCompleted);
        Assert.True(result.Buffer.IsEmpty);
        pipe.Reader.AdvanceTo(result.Buffer.End);

        ValueTask<ReadResult> next = pipe.Reader.ReadAsync();
        Assert.False(next.IsCompleted);
        await pipe.FeedAsync("x");
        result = await next.InTime();
        Assert.False(result.IsCanceled);
        Assert.Equal(1, result.Buffer.Length);
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task CancelPendingRead_NotPending_NextReadIsCanceledOnce()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        pipe.Reader.CancelPendingRead();
        pipe.Reader.CancelPendingRead();
        ReadResult result = await pipe.Reader.ReadAsync().InTime();
        Assert.True(result.IsCanceled);
        pipe.Reader.AdvanceTo(result.Buffer.End);
        ValueTask<ReadResult> next = pipe.Reader.ReadAsync();
        Assert.False(next.IsCompleted);
        await pipe.FeedAsync("x");
        Assert.False((await next.InTime()).IsCanceled);
    }

    [Fact]
    public async Task CancelPendingRead_WithBufferedBytes_CanceledReadShowsThemAndKeepsThem()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("kept");
        pipe.Reader.CancelPendingRead();
        ReadResult result = await pipe.Reader.ReadAsync().InTime();
        Assert.True(result.IsCanceled);
        Assert.Equal("kept"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.Start);
        result = await pipe.Reader.ReadAsync().InTime();
        Assert.False(result.IsCanceled);
        Assert.Equal("kept"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.End);
    }

    [Fact]
    public async Task CancelPendingRead_ThenTryRead_TrueAndCanceled()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        pipe.Reader.CancelPendingRead();
        Assert.True(pipe.Reader.TryRead(out ReadResult result));
        Assert.True(result.IsCanceled);
        pipe.Reader.AdvanceTo(result.Buffer.End);
        Assert.False(pipe.Reader.TryRead(out _));
    }

    [Fact]
    public async Task CancelPendingRead_DuringReadAtLeast_ReturnsCanceledWithWhatThereIs()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("some");
        Task<ReadResult> read = pipe.Reader.ReadAtLeastAsync(100).AsTask();
        Assert.False(read.IsCompleted);
        pipe.Reader.CancelPendingRead();
        ReadResult result = await read.InTime();
        Assert.True(result.IsCanceled);
        Assert.Equal("some"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.Start);
        // The standard Pipe waits for a new byte here although nothing was examined; another may come at once.
        await pipe.FeedAsync("!");
        Assert.Equal("some!"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(5));
    }

    [Fact]
    public async Task ReadToken_CanceledBefore_ThrowsAndLosesNothing()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("kept");
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => pipe.Reader.ReadAsync(new CancellationToken(canceled: true)).InTime());
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => pipe.Reader.ReadAtLeastAsync(1, new CancellationToken(canceled: true)).InTime());
        Assert.Equal("kept"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(4));
    }

    [Fact]
    public async Task ReadToken_CanceledWhilePending_ThrowsWithTheTokenAndNextReadWorks()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        for (int i = 0; i < 50; i++)
        {
            using CancellationTokenSource source = new();
            Task<ReadResult> read = pipe.Reader.ReadAsync(source.Token).AsTask();
            Assert.False(read.IsCompleted);
            source.Cancel();
            OperationCanceledException e =
                await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read.InTime("canceled read"));
            Assert.Equal(source.Token, e.CancellationToken);
        }

        await pipe.FeedAsync("x");
        Assert.Equal("x"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(1));
    }

    [Fact]
    public async Task ReadToken_CanceledAfterTheReadCompleted_DoesNothing()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        using CancellationTokenSource source = new();
        ValueTask<ReadResult> read = pipe.Reader.ReadAsync(source.Token);
        await pipe.FeedAsync("x");
        ReadResult result = await read.InTime();
        source.Cancel();
        Assert.Equal(1, result.Buffer.Length);
        pipe.Reader.AdvanceTo(result.Buffer.End);
        ValueTask<ReadResult> next = pipe.Reader.ReadAsync();
        Assert.False(next.IsCompleted);
        await pipe.FeedAsync("y");
        Assert.Equal(1, (await next.InTime()).Buffer.Length);
    }

    [Fact]
    public async Task CancelPendingFlush_Waiting_FlushIsCanceledAndEveryByteIsSent()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        (Task<FlushResult> flush, int written) = await pipe.WriteUntilBlockedAsync();
        pipe.Writer.CancelPendingFlush();
        FlushResult result = await flush.InTime();
        Assert.True(result.IsCanceled);
        Assert.False(result.IsCompleted);
        Task<byte[]> drained = pipe.DrainAsync(written + 1);
        Assert.False((await pipe.Writer.WriteAsync("x"u8.ToArray()).InTime()).IsCanceled);
        Assert.Equal((byte)'x', (await drained.InTime())[written]);
    }

    [Fact]
    public async Task CancelPendingFlush_NotWaiting_NextFlushIsCanceledOnceAndItsBytesAreSent()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        pipe.Writer.CancelPendingFlush();
        Assert.True((await pipe.Writer.WriteAsync("a"u8.ToArray()).InTime()).IsCanceled);
        Assert.False((await pipe.Writer.WriteAsync("b"u8.ToArray()).InTime()).IsCanceled);
        Assert.Equal("ab"u8.ToArray(), await pipe.DrainAsync(2));
    }

    [Fact]
    public async Task FlushToken_CanceledWhileWaiting_ThrowsAndEveryByteIsSent()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        using CancellationTokenSource source = new();
        (Task<FlushResult> flush, int written) = await pipe.WriteUntilBlockedAsync(source.Token);
        source.Cancel();
        OperationCanceledException e =
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => flush.InTime("canceled flush"));
        Assert.Equal(source.Token, e.CancellationToken);
        Task<byte[]> drained = pipe.DrainAsync(written + 1);
        Assert.False((await pipe.Writer.WriteAsync("x"u8.ToArray()).InTime()).IsCompleted);
        Assert.Equal((byte)'x', (await drained.InTime())[written]);
    }

    [Fact]
    public async Task FlushToken_CanceledBefore_ThrowsAndTheBytesWaitForTheNextFlush()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        pipe.Writer.Write("ab"u8);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => pipe.Writer.FlushAsync(new CancellationToken(canceled: true)).InTime());
        Assert.Equal(2, pipe.Writer.UnflushedBytes);
        await pipe.Writer.FlushAsync().InTime();
        Assert.Equal(0, pipe.Writer.UnflushedBytes);
        Assert.Equal("ab"u8.ToArray(), await pipe.DrainAsync(2));
    }

    [Fact]
    public async Task CancelPendingRead_NotAdvancedAfterIt_TheNextReadsAreAllowed()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<ReadResult> pending = pipe.Reader.ReadAsync().AsTask();
        pipe.Reader.CancelPendingRead();
        Assert.True((await pending.InTime()).IsCanceled);
        pipe.Reader.CancelPendingRead();
        Assert.True((await pipe.Reader.ReadAsync().InTime()).IsCanceled);
        pipe.Reader.CancelPendingRead();
        Assert.True(pipe.Reader.TryRead(out ReadResult canceled));
        Assert.True(canceled.IsCanceled);
        ValueTask<ReadResult> next = pipe.Reader.ReadAsync();
        Assert.False(next.IsCompleted);
        await pipe.FeedAsync("x");
        ReadResult result = await next.InTime();
        Assert.Equal("x"u8.ToArray(), result.Buffer.ToArray());
        pipe.Reader.AdvanceTo(result.Buffer.End);
        Assert.Throws<InvalidOperationException>(() => pipe.Reader.AdvanceTo(default));
    }

    [Fact]
    public async Task ReadToken_CanceledWhilePending_AdvanceToIsAllowed()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        using CancellationTokenSource source = new();
        Task<ReadResult> read = pipe.Reader.ReadAsync(source.Token).AsTask();
        source.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read.InTime("canceled read"));
        pipe.Reader.AdvanceTo(default);
        await pipe.FeedAsync("x");
        Assert.Equal("x"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(1));
    }

    [Fact]
    public async Task WriteToken_CanceledBefore_ThrowsAndNothingIsWritten()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        pipe.Writer.Write("a"u8);
        OperationCanceledException e = await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => pipe.Writer.WriteAsync("lost"u8.ToArray(), new CancellationToken(canceled: true)).InTime());
        Assert.True(e.CancellationToken.IsCancellationRequested);
        Assert.Equal(1, pipe.Writer.UnflushedBytes);
        await pipe.Writer.WriteAsync("b"u8.ToArray()).InTime();
        await pipe.Writer.CompleteAsync();
        Assert.Equal("ab"u8.ToArray(), await pipe.DrainToEndAsync());
    }
}
