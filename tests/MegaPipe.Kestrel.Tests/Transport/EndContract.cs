// How connections end without a reason, on the wire and in the log, and what can be asked of them when all is over.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class EndContract(TransportKind kind)
{
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public async Task Abort_WithoutAnException_FinOnTheWireAndInTheLog(bool clientEndedFirst, bool finOnError)
    {
        // Kestrel passes null when the client has ended the connection first.
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.FinOnError = finOnError);
        ConnectedPair pair = await harness.ConnectAsync();
        if (clientEndedFirst)
        {
            pair.Client.Shutdown(SocketShutdown.Send);
            await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        }

        pair.Server.Abort(null!);
        Assert.Null(await pair.Client.ReceiveEndAsync().InTime());
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        Exception? fault = await pair.Server.Transport.Input.ReadFaultAsync();
        if (!clientEndedFirst)
        {
            Assert.IsType<ConnectionAbortedException>(fault);
        }

        await pair.Server.DisposeAsync().InTime();
        LogEntry entry = Assert.Single(harness.Logs.Transport(LogCapture.ConnectionWriteFin));
        Assert.Contains("send loop completed gracefully", entry.Message, StringComparison.Ordinal);
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionWriteRst));
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionError));
    }

    [Fact]
    public async Task Abort_WithoutAnException_WhatTheKernelHasArrives()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        byte[] bytes = Client.Pattern(60_000);
        for (int i = 0; i < 20; i++)
        {
            ConnectedPair pair = await harness.ConnectAsync(listener);
            await pair.Server.Transport.Output.WriteAsync(bytes).InTime();
            byte[] first = await pair.Client.ReceiveExactlyAsync(1);
            pair.Server.Abort(null!);
            byte[] rest = await pair.Client.ReceiveToEndAsync();
            Assert.Equal(bytes, first.Concat(rest));
        }
    }

    [Fact]
    public async Task Abort_WithoutAnExceptionWhileASlowClientReads_Ends()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxWriteBufferSize = 0);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Server.Transport.Output.WriteAsync(new byte[32 * 1024 * 1024]).InTime();
        pair.Server.Abort(null!);
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        await pair.Server.DisposeAsync().InTime();
        Assert.Null(await pair.Client.ReceiveEndAsync().InTime());
    }

    [Fact]
    public async Task Close_UploadIsPaused_ClientReadsTheAnswerAndFin()
    {
        // As when a server refuses an upload: the kernel resets a socket that is closed with unread bytes.
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = 4096);
        IConnectionListener listener = await harness.BindAsync();
        for (int i = 1; i <= 20; i++)
        {
            ConnectedPair pair = await harness.ConnectAsync(listener);
            await pair.Client.SendAllAsync(new byte[8 * 4096]).InTime();
            await Eventually.True(() => harness.Logs.Count(LogCapture.ConnectionPause) == i);
            await pair.Client.SendAllAsync(new byte[4096]).InTime();
            await pair.Server.Transport.Output.WriteAsync("too large"u8.ToArray()).InTime();
            await pair.Server.DisposeAsync().InTime();
            Assert.Equal("too large"u8.ToArray(), await pair.Client.ReceiveToEndAsync());
        }
    }

    [Fact]
    public async Task Ends_OfManyKinds_LogAndWireAgree()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        List<(ConnectedPair Pair, string How)> ends = [];
        foreach (string how in (string[])["complete", "dispose", "null", "reason", "complete-null", "null-reason",
            "reason-null", "fin-null", "fin-reason", "fin-complete", "error"])
        {
            for (int i = 0; i < 8; i++)
            {
                ends.Add((await harness.ConnectAsync(listener), how));
            }
        }

        await Task.WhenAll(ends.Select(async end =>
        {
            (ConnectedPair pair, string how) = end;
            await pair.Server.Transport.Output.WriteAsync(new byte[100]);
            if (how.StartsWith("fin", StringComparison.Ordinal))
            {
                pair.Client.Shutdown(SocketShutdown.Send);
            }

            foreach (string step in how.Split('-'))
            {
                switch (step)
                {
                    case "complete":
                        await pair.Server.Transport.Output.CompleteAsync();
                        break;
                    case "error":
                        await pair.Server.Transport.Output.CompleteAsync(new InvalidOperationException("because"));
                        break;
                    case "dispose":
                        await pair.Server.DisposeAsync();
                        break;
                    case "null":
                        pair.Server.Abort(null!);
                        break;
                    case "reason":
                        pair.Server.Abort(new ConnectionAbortedException("because"));
                        break;
                }
            }
        })).InTime();

        foreach ((ConnectedPair pair, string how) in ends)
        {
            SocketError? end = await pair.Client.ReceiveEndAsync().InTime();
            string id = $"\"{pair.Server.ConnectionId}\"";
            await pair.Server.DisposeAsync().InTime();
            int fins = Logged(LogCapture.ConnectionWriteFin);
            int resets = Logged(LogCapture.ConnectionWriteRst);
            Assert.True((fins, resets) == (end is null ? (1, 0) : (0, 1)),
                $"{how}: {fins} FIN and {resets} RST are logged, the client saw {end?.ToString() ?? "FIN"}");

            int Logged(int what) => harness.Logs.Transport(what)
                .Count(entry => entry.Message.Contains(id, StringComparison.Ordinal));
        }
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ConnectionClosed_FinBehindDataThatNobodyReads_FiresAllTheSame(bool reads)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Client.SendAllAsync("data");
        pair.Client.Shutdown(SocketShutdown.Send);
        if (reads)
        {
            Assert.Equal("data"u8.ToArray(), await pair.Server.Transport.Input.ReadToEndAsync());
        }

        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        if (!reads)
        {
            Assert.Equal("data"u8.ToArray(), await pair.Server.Transport.Input.ReadToEndAsync());
        }

        await pair.Server.Transport.Output.WriteAsync("answer"u8.ToArray()).InTime();
        await pair.Server.DisposeAsync().InTime();
        Assert.Equal("answer"u8.ToArray(), await pair.Client.ReceiveToEndAsync());
    }

    [Fact]
    public async Task ConnectionClosed_FinBehindDataAndReaderCompleted_Fires()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Client.SendAllAsync("data");
        pair.Client.Shutdown(SocketShutdown.Send);
        await pair.Server.Transport.Input.CompleteAsync();
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        await pair.Server.DisposeAsync().InTime();
    }

    [Fact]
    public async Task ConnectionClosed_AfterDispose_IsACancelledToken()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectionContext server = (await harness.ConnectAsync()).Server;
        await server.DisposeAsync().InTime();
        CancellationToken token = server.ConnectionClosed;
        Assert.True(token.IsCancellationRequested);
        bool ran = false;
        using CancellationTokenRegistration registration = token.Register(() => ran = true);
        Assert.True(ran);
        Assert.Equal(
            token, server.Features.GetRequiredFeature<IConnectionLifetimeFeature>().ConnectionClosed);
    }

    [Theory]
    [InlineData("reason")]
    [InlineData("client")]
    [InlineData("reset")]
    public async Task FirstUse_AfterTheListenerAndItsChannelsHaveEnded_SaysSo(string how)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        ConnectedPair pair = await harness.ConnectAsync(listener);
        CancellationToken closed = pair.Server.ConnectionClosed;
        switch (how)
        {
            case "reason":
                pair.Server.Abort(new ConnectionAbortedException("because"));
                break;
            case "reset":
                pair.Client.Reset();
                break;
            default:
                pair.Client.Shutdown(SocketShutdown.Both);
                await closed.WaitForCancellation().InTime();
                await pair.Server.Transport.Output.CompleteAsync();
                break;
        }

        await closed.WaitForCancellation().InTime();
        await listener.UnbindAsync().InTime();
        await listener.DisposeAsync().InTime();
        if (how == "reset")
        {
            // Only writing makes the transport close its side.
            await pair.Server.Transport.Output.WriteAsync(new byte[1]).InTime();
        }

        await Task.Delay(100); // the channels end; nothing public says when
        Task<ReadResult> read = Task.Run(() => pair.Server.Transport.Input.ReadAsync().AsTask());
        switch (how)
        {
            case "reason":
                await Assert.ThrowsAsync<ConnectionAbortedException>(() => read.InTime());
                break;
            case "reset":
                await Assert.ThrowsAsync<ConnectionResetException>(() => read.InTime());
                break;
            default:
                Assert.True((await read.InTime()).IsCompleted);
                break;
        }

        Socket socket = await Task.Run(
            () => pair.Server.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket).InTime();
        Assert.Throws<ObjectDisposedException>(() => socket.Available);
        Assert.True((await pair.Server.Transport.Output.FlushAsync().InTime()).IsCompleted || how == "client");
        pair.Server.Abort(new ConnectionAbortedException("late"));
        await pair.Server.DisposeAsync().InTime();
    }
}
