// Graceful close and dispose: every byte written arrives, then FIN; nothing is left.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class CloseContract(TransportKind kind)
{
    private const int SlowReaderBytes = 33_553_556;
    private const int SmallSocketBuffer = 16 * 1024;

    /// <summary>Long enough for a dispose that waits for nothing.</summary>
    private static readonly TimeSpan s_moment = TimeSpan.FromMilliseconds(300);

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(4_095)]
    [InlineData(4_096)]
    [InlineData(4_097)]
    [InlineData(65_536)]
    [InlineData(5_000_011)]
    public async Task Close_AfterWrites_AllBytesThenFin(int count)
    {
        byte[] bytes = Client.Pattern(count);
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Task<byte[]> received = pair.Client.ReceiveToEndAsync();
        if (count > 0)
        {
            await pair.Server.Transport.Output.WriteAsync(bytes).InTime();
        }

        await pair.Server.Transport.Output.CompleteAsync();
        Assert.Equal(bytes, await received.InTime());
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
    }

    [Fact]
    public async Task Dispose_SlowReader_GetsEveryByteThenFin()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxWriteBufferSize = 0);
        ConnectedPair pair = await harness.ConnectAsync(
            beforeConnect: client => client.ReceiveBufferSize = SmallSocketBuffer);
        byte[] bytes = Client.Pattern(SlowReaderBytes);
        // Unlimited: everything is buffered before the client reads its first byte, then the app is gone.
        await pair.Server.Transport.Output.WriteAsync(bytes).InTime();
        Task dispose = pair.Server.DisposeAsync().AsTask();

        byte[] chunk = new byte[48 * 1024];
        int position = 0;
        while (true)
        {
            int received = await pair.Client.ReceiveAsync(chunk).InTime();
            if (received == 0)
            {
                break;
            }

            Assert.True(
                chunk.AsSpan(0, received).SequenceEqual(bytes.AsSpan(position, received)), $"differs near {position}");
            position += received;
            if ((position & 0xFF) == 0)
            {
                await Task.Yield();
            }
        }

        Assert.Equal(SlowReaderBytes, position);
        await dispose.InTime();
    }

    [Fact]
    public async Task Dispose_UnflushedBytes_AreSentToo()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Server.Transport.Output.GetSpan(4)[0] = (byte)'x';
        pair.Server.Transport.Output.Advance(1);
        Task dispose = pair.Server.DisposeAsync().AsTask();
        Assert.Equal("x"u8.ToArray(), await pair.Client.ReceiveToEndAsync());
        await dispose.InTime();
    }

    [Fact]
    public async Task Close_UnreadInput_ClientGetsEveryByteWritten()
    {
        // Closing a TCP socket with unread input makes the kernel send RST, which can cut what was written: the
        // transport must read on or shut down first, as stock does.
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        byte[] bytes = Client.Pattern(200_000);
        Task<byte[]> received = pair.Client.ReceiveToEndAsync();
        await pair.Client.SendAllAsync(new byte[1000]);
        ReadResult read = await pair.Server.Transport.Input.WaitForAsync(1000);
        pair.Server.Transport.Input.AdvanceTo(read.Buffer.Start, read.Buffer.Start);
        await pair.Server.Transport.Output.WriteAsync(bytes).InTime();
        await pair.Server.DisposeAsync().InTime();
        Assert.Equal(bytes, await received.InTime());
    }

    [Fact]
    public async Task Close_ClientReadsNothingYet_DisposeWaitsForTheLastByte()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxWriteBufferSize = 0);
        ConnectedPair pair = await harness.ConnectAsync(
            beforeConnect: client => client.ReceiveBufferSize = SmallSocketBuffer);
        byte[] bytes = Client.Pattern(16 * 1024 * 1024);
        await pair.Server.Transport.Output.WriteAsync(bytes).InTime();
        Task dispose = pair.Server.DisposeAsync().AsTask();
        // 16 MiB cannot be in the kernel's buffers of a client that takes 16 KiB.
        Assert.False(dispose.IsCompleted);
        Assert.Equal(bytes, await pair.Client.ReceiveToEndAsync());
        await dispose.InTime();
    }

    [Fact]
    public async Task Dispose_Twice_IsHarmless()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Server.DisposeAsync().InTime();
        await pair.Server.DisposeAsync().InTime();
        Assert.Empty(await pair.Client.ReceiveToEndAsync());
    }

    [Fact]
    public async Task Dispose_CallbackOfConnectionClosedRuns_WaitsForIt()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        using ManualResetEventSlim entered = new();
        using ManualResetEventSlim release = new();
        using CancellationTokenRegistration callback = pair.Server.ConnectionClosed.Register(() =>
        {
            entered.Set();
            release.Wait(InTimeExtensions.Limit);
        });
        Task dispose = Task.Run(async () => await pair.Server.DisposeAsync());
        await Task.Run(() => Assert.True(entered.Wait(InTimeExtensions.Limit)));
        // The client has its FIN: nothing else is left to wait for.
        Assert.Empty(await pair.Client.ReceiveToEndAsync());
        await Task.Delay(s_moment);
        Assert.False(dispose.IsCompleted);
        release.Set();
        await dispose.InTime();
    }

    [Fact]
    public async Task Dispose_TransportReplaced_CompletesTheOriginalAndLeavesTheReplacement()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        IDuplexPipe original = pair.Server.Transport;
        Pipe toApp = new();
        Pipe fromApp = new();
        pair.Server.Transport = new DuplexPipe(toApp.Reader, fromApp.Writer);
        await pair.Server.DisposeAsync().InTime();

        await Assert.ThrowsAsync<InvalidOperationException>(() => original.Input.ReadAsync().InTime());
        Assert.Empty(await pair.Client.ReceiveToEndAsync());
        await toApp.Writer.WriteAsync("alive"u8.ToArray());
        Assert.Equal("alive"u8.ToArray(), await toApp.Reader.ReadExactlyAsync(5));
        await fromApp.Writer.WriteAsync("alive"u8.ToArray());
        Assert.Equal("alive"u8.ToArray(), await fromApp.Reader.ReadExactlyAsync(5));
    }

    [Fact]
    public async Task Dispose_ReadingPaused_DoesNotThrowOrHang()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = 64 * 1024);
        ConnectedPair pair = await harness.ConnectAsync();
        Task<SocketError?> send = SendForever(pair.Client);
        await harness.Logs.Reached(LogCapture.ConnectionPause);
        await pair.Server.DisposeAsync().InTime();
        await send.InTime();
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionError));
    }

    [Fact]
    public async Task InputCompletedByApp_ClientSendsOn_ConnectionCloses()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Server.Transport.Input.CompleteAsync();
        await pair.Client.SendAllAsync(new byte[100]);
        // Reading stops at the next received bytes; sending is not affected.
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        await pair.Server.Transport.Output.WriteAsync("out"u8.ToArray()).InTime();
        Assert.Equal("out"u8.ToArray(), await pair.Client.ReceiveExactlyAsync(3));
    }

    private static async Task<SocketError?> SendForever(Socket client)
    {
        try
        {
            byte[] chunk = new byte[64 * 1024];
            while (true)
            {
                await client.SendAsync(chunk);
            }
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode;
        }
    }

    private sealed record DuplexPipe(PipeReader Input, PipeWriter Output) : IDuplexPipe;
}
