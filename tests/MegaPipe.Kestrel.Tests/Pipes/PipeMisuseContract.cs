// Misuse: the exceptions that the standard Pipe gives, at the same calls, and a pipe that works on after them.
using System.Buffers;
using System.IO.Pipelines;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Pipes;

public abstract class PipeMisuseContract(PipeKind kind)
{
    [Fact]
    public async Task AdvanceTo_ExaminedBeforeConsumed_InvalidOperation()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("abc");
        ReadResult result = await pipe.Reader.ReadAsync().InTime();
        Assert.Throws<InvalidOperationException>(
            () => pipe.Reader.AdvanceTo(result.Buffer.End, result.Buffer.Start));
    }

    [Fact]
    public async Task AdvanceTo_NoReadBefore_InvalidOperation()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("abc");
        ReadResult result = await pipe.Reader.ReadAsync().InTime();
        pipe.Reader.AdvanceTo(result.Buffer.GetPosition(1));
        Assert.Throws<InvalidOperationException>(() => pipe.Reader.AdvanceTo(result.Buffer.GetPosition(1)));
        Assert.Equal("bc"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(2));
    }

    [Fact]
    public async Task AdvanceTo_EmptyRead_DefaultAndStartAreFine()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        for (int i = 0; i < 3; i++)
        {
            pipe.Reader.CancelPendingRead();
            ReadResult result = await pipe.Reader.ReadAsync().InTime();
            Assert.True(result.Buffer.IsEmpty);
            if (i == 0)
            {
                pipe.Reader.AdvanceTo(default);
            }
            else
            {
                pipe.Reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
            }
        }

        await pipe.FeedAsync("x");
        Assert.Equal("x"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(1));
    }

    [Fact]
    public async Task Read_PreviousNotAdvanced_InvalidOperation()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("abc");
        ReadResult result = await pipe.Reader.ReadAsync().InTime();
        await Assert.ThrowsAsync<InvalidOperationException>(() => pipe.Reader.ReadAsync().InTime());
        Assert.Throws<InvalidOperationException>(() => { pipe.Reader.TryRead(out _); });
        pipe.Reader.AdvanceTo(result.Buffer.Start);
        Assert.Equal("abc"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(3));
    }

    [Fact]
    public async Task TryRead_ReadPending_InvalidOperation()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<ReadResult> read = pipe.Reader.ReadAsync().AsTask();
        Assert.Throws<InvalidOperationException>(() => { pipe.Reader.TryRead(out _); });
        await pipe.FeedAsync("x");
        Assert.Equal(1, (await read.InTime()).Buffer.Length);
    }

    [Fact]
    public async Task Read_ReadPending_InvalidOperation()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<ReadResult> read = pipe.Reader.ReadAsync().AsTask();
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await pipe.Reader.ReadAsync().AsTask());
        Assert.False(read.IsCompletedSuccessfully);
    }

    [Fact]
    public async Task Reader_AfterComplete_EveryReadIsInvalidOperationAndCompleteAgainIsFine()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("abc");
        await pipe.Reader.CompleteAsync();
        await Assert.ThrowsAsync<InvalidOperationException>(() => pipe.Reader.ReadAsync().InTime());
        Assert.Throws<InvalidOperationException>(() => { pipe.Reader.TryRead(out _); });
        pipe.Reader.CancelPendingRead();
        pipe.Reader.Complete();
        pipe.Reader.Complete(new InvalidDataException());
        await pipe.Reader.CompleteAsync();
    }

    [Fact]
    public async Task Reader_CompletedWhileHoldingABuffer_IsAllowed()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("abc");
        await pipe.Reader.ReadAsync().InTime();
        pipe.Reader.Complete();
        await Assert.ThrowsAsync<InvalidOperationException>(() => pipe.Reader.ReadAsync().InTime());
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(int.MinValue)]
    public async Task Writer_NegativeSizes_ArgumentOutOfRange(int size)
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Assert.Throws<ArgumentOutOfRangeException>(() => { pipe.Writer.GetMemory(size); });
        Assert.Throws<ArgumentOutOfRangeException>(() => { pipe.Writer.GetSpan(size); });
        pipe.Writer.GetMemory(10);
        Assert.Throws<ArgumentOutOfRangeException>(() => pipe.Writer.Advance(size));
        await AssertWriterWorks(pipe);
    }

    [Fact]
    public async Task Advance_MoreThanTheMemory_ArgumentOutOfRange()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Memory<byte> memory = pipe.Writer.GetMemory(10);
        Assert.Throws<ArgumentOutOfRangeException>(() => pipe.Writer.Advance(memory.Length + 1));
        await AssertWriterWorks(pipe);
    }

    [Fact]
    public async Task Advance_NoMemoryAskedFor_ArgumentOutOfRange()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Assert.Throws<ArgumentOutOfRangeException>(() => pipe.Writer.Advance(1));
        pipe.Writer.Advance(0);
        await AssertWriterWorks(pipe);
    }

    [Fact]
    public async Task ReadAtLeast_Negative_ArgumentOutOfRange()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => pipe.Reader.ReadAtLeastAsync(-1).InTime());
    }

    [Fact]
    public async Task Writer_AfterComplete_WritingIsInvalidOperationAndCompleteAgainIsFine()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.Writer.CompleteAsync();
        Assert.Throws<InvalidOperationException>(() => { pipe.Writer.GetMemory(1); });
        Assert.Throws<InvalidOperationException>(() => { pipe.Writer.GetSpan(1); });
        await Assert.ThrowsAsync<InvalidOperationException>(() => pipe.Writer.WriteAsync("x"u8.ToArray()).InTime());
        pipe.Writer.Complete();
        pipe.Writer.Complete(new InvalidDataException());
        pipe.Writer.CancelPendingFlush();
        Assert.Empty(await pipe.DrainToEndAsync());
    }

    private static async Task AssertWriterWorks(PipeUnderTest pipe)
    {
        await pipe.Writer.WriteAsync("ok"u8.ToArray()).InTime();
        Assert.Equal("ok"u8.ToArray(), await pipe.DrainAsync(2));
    }
}
