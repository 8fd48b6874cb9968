// Abort: RST (or FIN with FinOnError), reasons in the exceptions, and abort at every state of both directions.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class AbortContract(TransportKind kind)
{
    private const string LifetimeFeatureReason =
        "The connection was aborted by the application via IConnectionLifetimeFeature.Abort().";

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Abort_Idle_ClientSeesRstOrFin(bool finOnError)
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.FinOnError = finOnError);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Server.Abort(new ConnectionAbortedException("because"));
        SocketError? end = await pair.Client.ReceiveEndAsync().InTime();
        Assert.Equal(finOnError ? null : SocketError.ConnectionReset, end);
        int used = finOnError ? LogCapture.ConnectionWriteFin : LogCapture.ConnectionWriteRst;
        await harness.Logs.Reached(used);
        Assert.Contains("because", Assert.Single(harness.Logs.Transport(used)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Abort_PendingRead_ReadThrowsTheReason()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Task<ReadResult> read = pair.Server.Transport.Input.ReadAsync().AsTask();
        ConnectionAbortedException reason = new("because");
        pair.Server.Abort(reason);
        Exception e = await Assert.ThrowsAsync<ConnectionAbortedException>(() => read.InTime("read after abort"));
        Assert.Equal("because", e.Message);
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        // Later reads give the same.
        e = await Assert.ThrowsAsync<ConnectionAbortedException>(
            () => pair.Server.Transport.Input.ReadAsync().InTime());
        Assert.Same(reason, e);
    }

    [Fact]
    public async Task Abort_WithoutReason_StandardReason()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Server.Abort();
        Exception? fault = await pair.Server.Transport.Input.ReadFaultAsync();
        Assert.Equal(
            "The connection was aborted by the application via ConnectionContext.Abort().",
            Assert.IsType<ConnectionAbortedException>(fault).Message);
    }

    [Fact]
    public async Task Abort_ThroughLifetimeFeature_TextOfTheFeature()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Server.Features.GetRequiredFeature<IConnectionLifetimeFeature>().Abort();
        Exception? fault = await pair.Server.Transport.Input.ReadFaultAsync();
        Assert.Equal(LifetimeFeatureReason, Assert.IsType<ConnectionAbortedException>(fault).Message);
        Assert.Equal(SocketError.ConnectionReset, await pair.Client.ReceiveEndAsync().InTime());
        await harness.Logs.Reached(LogCapture.ConnectionWriteRst);
        Assert.Contains(
            LifetimeFeatureReason, Assert.Single(harness.Logs.Transport(LogCapture.ConnectionWriteRst)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Abort_FlushWaitsForASlowClient_FlushCompletes()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        Task<FlushResult> flush = await FlushUntilBlocked(pair.Server.Transport.Output);
        pair.Server.Abort(new ConnectionAbortedException("because"));
        FlushResult result = await flush.InTime();
        Assert.True(result.IsCompleted);
        Assert.Equal(SocketError.ConnectionReset, await pair.Client.ReceiveEndAsync().InTime());
    }

    [Fact]
    public async Task Abort_ReadingPaused_ReadThrowsTheReason()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = 64 * 1024);
        ConnectedPair pair = await harness.ConnectAsync();
        BlockedSend blocked = await pair.Client.SendUntilBlockedAsync(
            long.MaxValue, harness.Logs.Reached(LogCapture.ConnectionPause)).InTime();
        pair.Server.Abort(new ConnectionAbortedException("because"));
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        Exception? fault = await pair.Server.Transport.Input.ReadFaultAsync();
        Assert.Equal("because", Assert.IsType<ConnectionAbortedException>(fault).Message);
        Assert.Equal(SocketError.ConnectionReset, await pair.Client.EndAsync(blocked));
    }

    [Fact]
    public async Task Abort_BothDirectionsUnderBackPressure_EverythingEnds()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = 64 * 1024);
        ConnectedPair pair = await harness.ConnectAsync();
        Task<FlushResult> flush = await FlushUntilBlocked(pair.Server.Transport.Output);
        BlockedSend blocked = await pair.Client.SendUntilBlockedAsync(
            long.MaxValue, harness.Logs.Reached(LogCapture.ConnectionPause)).InTime();
        pair.Server.Abort(new ConnectionAbortedException("because"));
        Assert.True((await flush.InTime()).IsCompleted);
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        await pair.Server.DisposeAsync().InTime();
        Assert.Equal(SocketError.ConnectionReset, await pair.Client.EndAsync(blocked));
    }

    [Fact]
    public async Task Abort_Twice_FirstReasonWinsAndOneRstIsLogged()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Server.Abort(new ConnectionAbortedException("first"));
        pair.Server.Abort(new ConnectionAbortedException("second"));
        Exception? fault = await pair.Server.Transport.Input.ReadFaultAsync();
        Assert.Equal("first", Assert.IsType<ConnectionAbortedException>(fault).Message);
        await pair.Server.DisposeAsync().InTime();
        Assert.Single(harness.Logs.Transport(LogCapture.ConnectionWriteRst));
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionWriteFin));
    }

    [Fact]
    public async Task Abort_AfterDispose_IsHarmless()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Server.DisposeAsync().InTime();
        pair.Server.Abort(new ConnectionAbortedException("late"));
        Assert.Empty(await pair.Client.ReceiveToEndAsync());
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionWriteRst));
    }

    [Fact]
    public async Task Abort_AfterFinFromClient_ClientSeesRst()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Client.Shutdown(SocketShutdown.Send);
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        pair.Server.Abort(new ConnectionAbortedException("because"));
        Assert.Equal(SocketError.ConnectionReset, await pair.Client.ReceiveEndAsync().InTime());
    }

    [Fact]
    public async Task Abort_WhileDisposeWaitsForASlowClient_DisposeEnds()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxWriteBufferSize = 0);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Server.Transport.Output.WriteAsync(new byte[32 * 1024 * 1024]).InTime();
        Task dispose = pair.Server.DisposeAsync().AsTask();
        Assert.False(dispose.IsCompleted);
        pair.Server.Abort(new ConnectionAbortedException("because"));
        await dispose.InTime();
        Assert.Equal(SocketError.ConnectionReset, await pair.Client.ReceiveEndAsync().InTime());
    }

    /// <summary>Writes until a flush does not complete at once, and gives that flush.</summary>
    private static async Task<Task<FlushResult>> FlushUntilBlocked(PipeWriter output)
    {
        for (int i = 0; i < 10_000; i++)
        {
            Task<FlushResult> flush = output.WriteAsync(new byte[64 * 1024]).AsTask();
            if (await Task.WhenAny(flush, Task.Delay(TimeSpan.FromMilliseconds(300))) != flush)
            {
                return flush;
            }
        }

        throw Xunit.Sdk.FailException.ForFailure("640 MB were written to a client that reads nothing.");
    }
}
