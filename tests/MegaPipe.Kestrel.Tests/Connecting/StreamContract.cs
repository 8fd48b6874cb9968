// A connection as a stream, against the runtime's own stream over a socket.
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Connecting;

public abstract class StreamContract(TransportKind kind)
{
    [Fact]
    public async Task Stream_BothWays_BytesArriveInOrder()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        byte[] bytes = Client.Pattern(1_000_000);
        Task send = pair.Backend.SendAllAsync(bytes);
        byte[] received = new byte[bytes.Length];
        await pair.Stream.ReadExactlyAsync(received).AsTask().InTime();
        await send;
        Assert.Equal(bytes, received);
        Task<byte[]> back = pair.Backend.ReceiveToEndAsync();
        await pair.Stream.WriteAsync(bytes).InTime();
        await pair.Stream.FlushAsync().InTime();
        pair.Stream.Dispose();
        Assert.Equal(bytes, await back);
    }

    [Fact]
    public async Task Stream_Synchronous_BytesArrive()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        await Task.Run(() =>
        {
            pair.Stream.Write("array"u8.ToArray(), 0, 5);
            pair.Stream.Write("span"u8);
            pair.Stream.WriteByte((byte)'!');
        }).InTime();
        Assert.Equal("arrayspan!"u8.ToArray(), await pair.Backend.ReceiveExactlyAsync(10));
        Task<byte[]> read = Task.Run(() =>
        {
            byte[] bytes = new byte[6];
            pair.Stream.ReadExactly(bytes, 0, 3);
            pair.Stream.ReadExactly(bytes.AsSpan(3, 2));
            bytes[5] = (byte)pair.Stream.ReadByte();
            return bytes;
        });
        await pair.Backend.SendAllAsync("abcdef");
        Assert.Equal("abcdef"u8.ToArray(), await read.InTime());
    }

    [Fact]
    public async Task Read_OfNothing_WaitsForData()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        Task<int> nothing = pair.Stream.ReadAsync(Memory<byte>.Empty).AsTask();
        await Task.Delay(50);
        Assert.False(nothing.IsCompleted);
        await pair.Backend.SendAllAsync("x");
        Assert.Equal(0, await nothing.InTime());
        byte[] one = new byte[8];
        Assert.Equal(1, await pair.Stream.ReadAsync(one).InTime());
        Assert.Equal((byte)'x', one[0]);
    }

    [Fact]
    public async Task Read_AfterTheEnd_ZeroEachTime()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        pair.Backend.Shutdown(SocketShutdown.Send);
        byte[] buffer = new byte[8];
        Assert.Equal(0, await pair.Stream.ReadAsync(buffer).InTime());
        Assert.Equal(0, await pair.Stream.ReadAsync(buffer).InTime());
        Assert.Equal(0, await pair.Stream.ReadAsync(Memory<byte>.Empty).InTime());
        await pair.Stream.WriteAsync("still"u8.ToArray()).InTime();
        Assert.Equal("still"u8.ToArray(), await pair.Backend.ReceiveExactlyAsync(5));
    }

    [Fact]
    public async Task Read_TokenCanceled_ThrowsAndTheStreamGoesOn()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        using CancellationTokenSource cancel = new();
        Task<int> read = pair.Stream.ReadAsync(new byte[8], cancel.Token).AsTask();
        await cancel.CancelAsync();
        OperationCanceledException error =
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => read.InTime());
        Assert.Equal(cancel.Token, error.CancellationToken);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => pair.Stream.ReadAsync(new byte[8], cancel.Token).InTime());
        await pair.Backend.SendAllAsync("on");
        byte[] bytes = new byte[2];
        await pair.Stream.ReadExactlyAsync(bytes).AsTask().InTime();
        Assert.Equal("on"u8.ToArray(), bytes);
    }

    [Fact]
    public async Task Write_TokenCanceledUnderBackPressure_Throws()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        using CancellationTokenSource cancel = new();
        byte[] chunk = new byte[1 << 20];
        Task write;
        do
        {
            write = pair.Stream.WriteAsync(chunk, cancel.Token).AsTask();
        }
        while (await Task.WhenAny(write, Task.Delay(200)) == write);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => write.InTime());

        // What the backend gets is cut, and ends.
        pair.Stream.Dispose();
        await pair.Backend.ReceiveEndAsync();
    }

    [Fact]
    public async Task Backend_Resets_ReadAndWriteThrowIOException()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        pair.Backend.Reset();
        await Assert.ThrowsAnyAsync<IOException>(() => pair.Stream.ReadAsync(new byte[8]).InTime());
        await Assert.ThrowsAnyAsync<IOException>(async () =>
        {
            while (true)
            {
                await pair.Stream.WriteAsync(new byte[8]).InTime();
            }
        }).InTime();
    }

    [Fact]
    public async Task Dispose_WhileAReadWaits_ItThrowsAndTheBackendGetsFin()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        Task<int> read = pair.Stream.ReadAsync(new byte[8]).AsTask();
        await pair.Stream.WriteAsync("bye"u8.ToArray()).InTime();
        pair.Stream.Dispose();
        Exception? error = await Record.ExceptionAsync(() => read.InTime());
        if (error is null)
        {
            Assert.Equal(0, await read); // stock: its own shutdown may end the read before the close does
        }
        else
        {
            Assert.True(error is IOException or ObjectDisposedException, error.ToString());
        }

        Assert.Equal("bye"u8.ToArray(), await pair.Backend.ReceiveToEndAsync());
    }

    [Fact]
    public async Task Disposed_EveryCall_ObjectDisposed()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        StreamPair pair = await harness.StreamsAsync();
        Assert.True(pair.Stream.CanRead && pair.Stream.CanWrite && !pair.Stream.CanSeek);
        pair.Stream.Dispose();
        pair.Stream.Dispose();
        Assert.False(pair.Stream.CanRead || pair.Stream.CanWrite);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => pair.Stream.ReadAsync(new byte[8]).AsTask());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => pair.Stream.WriteAsync(new byte[8]).AsTask());
        Assert.Throws<ObjectDisposedException>(() => pair.Stream.Read(new byte[8], 0, 8));
        Assert.Throws<ObjectDisposedException>(() => pair.Stream.Write(new byte[8], 0, 8));
    }
}
