// Pipes as streams, and copying out of them.
using System.IO.Pipelines;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Pipes;

public abstract class PipeStreamContract(PipeKind kind)
{
    private const int Count = 250_001;

    [Fact]
    public async Task CopyTo_Stream_CopiesEverythingUntilTheEnd()
    {
        byte[] bytes = Client.Pattern(Count);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        using MemoryStream destination = new();
        Task copy = pipe.Reader.CopyToAsync(destination);
        await pipe.FeedAsync(bytes);
        await pipe.EndFeedAsync();
        await copy.InTime();
        Assert.Equal(bytes, destination.ToArray());
    }

    [Fact]
    public async Task CopyTo_PipeWriter_CopiesEverythingUntilTheEnd()
    {
        byte[] bytes = Client.Pattern(Count);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Pipe destination = new();
        Task copy = pipe.Reader.CopyToAsync(destination.Writer);
        Task<byte[]> copied = destination.Reader.ReadExactlyAsync(Count);
        await pipe.FeedAsync(bytes);
        await pipe.EndFeedAsync();
        await copy.InTime();
        Assert.Equal(bytes, await copied.InTime());
    }

    [Fact]
    public async Task CopyTo_OwnWriter_Echoes()
    {
        byte[] bytes = Client.Pattern(Count);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task copy = pipe.Reader.CopyToAsync(pipe.Writer);
        Task<byte[]> drained = pipe.DrainAsync(Count);
        await pipe.FeedAsync(bytes);
        await pipe.EndFeedAsync();
        await copy.InTime();
        Assert.Equal(bytes, await drained.InTime());
    }

    [Fact]
    public async Task CopyTo_DestinationThrows_ThrowsItAndKeepsWhatWasNotCopied()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.FeedAndArriveAsync("kept");
        await Assert.ThrowsAsync<IOException>(() => pipe.Reader.CopyToAsync(new ThrowingStream()).InTime());
        Assert.Equal("kept"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(4));
    }

    [Fact]
    public async Task CopyTo_TokenCanceled_ThrowsAndReaderWorksOn()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        using CancellationTokenSource source = new();
        Task copy = pipe.Reader.CopyToAsync(Stream.Null, source.Token);
        source.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => copy.InTime("canceled copy"));
        await pipe.FeedAsync("x");
        Assert.Equal("x"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(1));
    }

    [Fact]
    public async Task CopyTo_CancelPendingRead_Throws()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task copy = pipe.Reader.CopyToAsync(Stream.Null);
        pipe.Reader.CancelPendingRead();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => copy.InTime("canceled copy"));
    }

    [Fact]
    public async Task CopyTo_FaultInTheMiddle_ThrowsIt()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task copy = pipe.Reader.CopyToAsync(Stream.Null);
        await pipe.FeedAsync(new byte[1_000]);
        await pipe.FaultFeedAsync();
        await Assert.ThrowsAsync(pipe.FaultType, () => copy.InTime("faulted copy"));
    }

    [Fact]
    public async Task ReadStream_AllOverloads_GiveTheBytesInOrderThenZero()
    {
        byte[] bytes = Client.Pattern(10_000);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await using Stream stream = pipe.Reader.AsStream();
        Assert.True(stream.CanRead);
        Assert.False(stream.CanWrite);
        await pipe.FeedAsync(bytes);
        await pipe.EndFeedAsync();
        byte[] read = new byte[bytes.Length];
        await stream.ReadExactlyAsync(read.AsMemory(0, 1_000)).InTime();
        stream.ReadExactly(read, 1_000, 4_000);
        Assert.Equal(bytes[5_000], read[5_000] = (byte)stream.ReadByte());
        await stream.ReadExactlyAsync(read, 5_001, 4_999).AsTask().InTime();
        Assert.Equal(bytes, read);
        Assert.Equal(0, await stream.ReadAsync(read.AsMemory()).InTime());
        Assert.Equal(-1, stream.ReadByte());
    }

    [Fact]
    public async Task ReadStream_ZeroByteRead_WaitsForDataAndTakesNone()
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Stream stream = pipe.Reader.AsStream(leaveOpen: true);
        Task<int> read = stream.ReadAsync(Memory<byte>.Empty).AsTask();
        Assert.False(read.IsCompleted);
        await pipe.FeedAsync("x");
        Assert.Equal(0, await read.InTime());
        Assert.Equal("x"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(1));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ReadStream_Disposed_CompletesTheReaderUnlessLeftOpen(bool leaveOpen)
    {
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        await pipe.Reader.AsStream(leaveOpen).DisposeAsync();
        await pipe.FeedAsync("x");
        if (leaveOpen)
        {
            Assert.Equal("x"u8.ToArray(), await pipe.Reader.ReadExactlyAsync(1));
        }
        else
        {
            await Assert.ThrowsAsync<InvalidOperationException>(() => pipe.Reader.ReadAsync().InTime());
        }
    }

    [Fact]
    public async Task WriteStream_AllOverloads_SendTheBytesInOrderThenTheEnd()
    {
        byte[] bytes = Client.Pattern(10_000);
        await using PipeUnderTest pipe = await PipeUnderTest.CreateAsync(kind);
        Task<byte[]> drained = pipe.DrainToEndAsync();
        await using (Stream stream = pipe.Writer.AsStream())
        {
            Assert.True(stream.CanWrite);
            Assert.False(stream.CanRead);
            await stream.WriteAsync(bytes.AsMemory(0, 1_000)).InTime();
            stream.Write(bytes, 1_000, 1_000);
            stream.WriteByte(bytes[2_000]);
            stream.Flush();
            using MemoryStream source = new(bytes, 2_001, 7_999);
            await source.CopyToAsync(stream).InTime();
            await stream.FlushAsync().InTime();
        }

        Assert.Equal(bytes, await drained.InTime());
    }

    private sealed class ThrowingStream : MemoryStream
    {
        public override ValueTask WriteAsync(
            ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) =>
            throw new IOException("full");
    }
}
