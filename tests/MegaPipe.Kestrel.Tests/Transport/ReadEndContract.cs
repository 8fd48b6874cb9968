// How reading ends: FIN (half-close), RST, and what ConnectionClosed says of it.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class ReadEndContract(TransportKind kind)
{
    [Fact]
    public async Task Fin_Idle_InputCompletesCleanlyAndIsLogged()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Task<ReadResult> read = pair.Server.Transport.Input.ReadAsync().AsTask();
        pair.Client.Shutdown(SocketShutdown.Send);
        ReadResult result = await read.InTime();
        Assert.True(result.IsCompleted);
        Assert.False(result.IsCanceled);
        Assert.True(result.Buffer.IsEmpty);
        await harness.Logs.Reached(LogCapture.ConnectionReadFin);
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionReset));
    }

    [Fact]
    public async Task Fin_AfterBytes_BytesFirstThenEnd()
    {
        byte[] bytes = Client.Pattern(300_007);
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Task<byte[]> read = pair.Server.Transport.Input.ReadToEndAsync();
        await pair.Client.SendAllAsync(bytes);
        pair.Client.Shutdown(SocketShutdown.Send);
        Assert.Equal(bytes, await read.InTime());
    }

    [Fact]
    public async Task Fin_HalfClose_SendingStillWorks()
    {
        byte[] bytes = Client.Pattern(500_000);
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Client.Shutdown(SocketShutdown.Send);
        Assert.Empty(await pair.Server.Transport.Input.ReadToEndAsync());
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();

        Task<byte[]> received = pair.Client.ReceiveToEndAsync();
        FlushResult flush = await pair.Server.Transport.Output.WriteAsync(bytes).InTime();
        Assert.False(flush.IsCompleted);
        await pair.Server.Transport.Output.CompleteAsync();
        Assert.Equal(bytes, await received.InTime());
    }

    [Fact]
    public async Task ConnectionClosed_Fin_FiresOnceAndAsynchronously()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        int fired = 0;
        TaskCompletionSource onThreadPool = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using ManualResetEventSlim release = new();
        using CancellationTokenRegistration registration = pair.Server.ConnectionClosed.Register(() =>
        {
            Interlocked.Increment(ref fired);
            onThreadPool.SetResult();
            release.Wait(InTimeExtensions.Limit);
        });
        pair.Client.Shutdown(SocketShutdown.Send);
        await onThreadPool.Task.InTime();
        // A callback that blocks must not hold up the connection: its output still goes out, its input ends.
        Assert.Empty(await pair.Server.Transport.Input.ReadToEndAsync());
        await pair.Server.Transport.Output.WriteAsync("out"u8.ToArray()).InTime();
        Assert.Equal("out"u8.ToArray(), await pair.Client.ReceiveExactlyAsync(3));
        release.Set();
        await pair.Server.DisposeAsync().InTime();
        Assert.Equal(1, fired);
    }

    [Fact]
    public async Task ConnectionClosed_CallbackThrows_ConnectionIsDisposedAllTheSame()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        using CancellationTokenRegistration registration = pair.Server.ConnectionClosed.Register(
            () => throw new InvalidOperationException("from a callback"));
        pair.Client.Shutdown(SocketShutdown.Send);
        Assert.Empty(await pair.Server.Transport.Input.ReadToEndAsync());
        await pair.Server.DisposeAsync().InTime();
        Assert.Empty(await pair.Client.ReceiveToEndAsync());
    }

    [Fact]
    public async Task Rst_PendingRead_ConnectionResetExceptionAndIsLogged()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Task<ReadResult> read = pair.Server.Transport.Input.ReadAsync().AsTask();
        pair.Client.Reset();
        ConnectionResetException e =
            await Assert.ThrowsAsync<ConnectionResetException>(() => read.InTime("read after RST"));
        Assert.IsType<SocketException>(e.InnerException);
        Assert.Equal(SocketError.ConnectionReset, ((SocketException)e.InnerException).SocketErrorCode);
        await harness.Logs.Reached(LogCapture.ConnectionReset);
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionError));
    }

    [Fact]
    public async Task Rst_NoReadPending_NextReadThrowsAndSoDoesTheOneAfter()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Client.Reset();
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        for (int i = 0; i < 2; i++)
        {
            await Assert.ThrowsAsync<ConnectionResetException>(
                () => pair.Server.Transport.Input.ReadAsync().InTime());
        }
    }

    [Fact]
    public async Task Rst_FlushesAfterwards_CompleteWithoutException()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Client.Reset();
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        FlushResult flush = default;
        for (int i = 0; i < 100_000 && !flush.IsCompleted; i++)
        {
            flush = await pair.Server.Transport.Output.WriteAsync(new byte[1000]).InTime();
        }

        Assert.True(flush.IsCompleted);
        // And so does every later one.
        Assert.True((await pair.Server.Transport.Output.WriteAsync(new byte[1000]).InTime()).IsCompleted);
    }

    [Fact]
    public async Task ClientClosed_WritesAfterwards_AreNoOps()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Client.Close();
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        for (int i = 0; i < 50; i++)
        {
            await pair.Server.Transport.Output.WriteAsync(new byte[10_000]).InTime();
        }

        await pair.Server.DisposeAsync().InTime();
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionError));
    }
}
