// Requests whose connection ends before they do: RequestAborted, Abort, and what reads and writes then say.
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class AbortedRequestContract(TransportKind kind)
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task RequestAborted_ClientGoesAway_Fires(bool reset)
    {
        TaskCompletionSource entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            entered.SetResult();
            await context.RequestAborted.WaitForCancellation().InTime();
            aborted.SetResult();
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        await entered.Task.InTime();
        if (reset)
        {
            client.Reset();
        }
        else
        {
            client.Close();
        }

        await aborted.Task.InTime();
    }

    [Fact]
    public async Task RequestAborted_ResponseToAClientThatNeverReadsAndResets_Fires()
    {
        TaskCompletionSource writing = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            byte[] chunk = new byte[256 * 1024];
            int writes = 0;
            while (!context.RequestAborted.IsCancellationRequested)
            {
                Task write = context.Response.Body.WriteAsync(chunk).AsTask();
                if (!write.IsCompleted || ++writes > 100)
                {
                    writing.TrySetResult();
                }

                await write.InTime();
            }

            aborted.SetResult();
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        await writing.Task.InTime();
        client.Reset();
        await aborted.Task.InTime();
    }

    [Fact]
    public async Task RequestAborted_UploadPausedAndClientResets_Fires()
    {
        TaskCompletionSource aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource reset = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                // Nobody reads the body: reading is paused, so only a failing write can show that the client is gone.
                await reset.Task.InTime();
                while (!context.RequestAborted.IsCancellationRequested)
                {
                    await context.Response.Body.WriteAsync(new byte[1000]).InTime();
                }

                aborted.SetResult();
            },
            setup =>
            {
                setup.Transport.MaxReadBufferSize = 16 * 1024;
                setup.Kestrel = options =>
                    options.Limits.MinRequestBodyDataRate = null;
            });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
        await client.SendUntilBlockedAsync(100_000_000, host.Logs.Reached(LogCapture.ConnectionPause));
        client.Reset();
        reset.SetResult();
        await aborted.Task.InTime();
    }

    [Fact]
    public async Task Abort_InTheMiddleOfABodyRead_TaskCanceledException()
    {
        TaskCompletionSource<Exception?> outcome = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource reading = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            Task read = context.Request.Body.ReadAsync(new byte[100]).AsTask();
            Assert.False(read.IsCompleted);
            reading.SetResult();
            context.Abort();
            try
            {
                await read.InTime();
                outcome.SetResult(null);
            }
            catch (Exception e)
            {
                outcome.SetResult(e);
                throw;
            }
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
        await reading.Task.InTime();
        Assert.IsType<TaskCanceledException>(await outcome.Task.InTime());
        Assert.Equal(SocketError.ConnectionReset, await client.ReceiveEndAsync().InTime());
        Assert.Equal(0, host.Logs.Count(LogCapture.ConnectionError));
    }

    [Fact]
    public async Task ClientResets_InTheMiddleOfABodyRead_ConnectionResetException()
    {
        TaskCompletionSource<Exception?> outcome = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource reading = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            Task<int> read = context.Request.Body.ReadAsync(new byte[100]).AsTask();
            reading.SetResult();
            try
            {
                await read.InTime();
                outcome.SetResult(null);
            }
            catch (Exception e)
            {
                outcome.SetResult(e);
            }
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
        await reading.Task.InTime();
        client.Reset();
        Assert.IsAssignableFrom<ConnectionResetException>(await outcome.Task.InTime());
    }

    [Fact]
    public async Task ClientEnds_InTheMiddleOfABody_BadHttpRequestException()
    {
        TaskCompletionSource<Exception?> outcome = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            try
            {
                await context.Request.Body.CopyToAsync(Stream.Null).InTime();
                outcome.SetResult(null);
            }
            catch (Exception e)
            {
                outcome.SetResult(e);
            }
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabc");
        client.Shutdown(SocketShutdown.Send);
        Assert.IsAssignableFrom<BadHttpRequestException>(await outcome.Task.InTime());
    }

    [Fact]
    public async Task Abort_DuringResponse_ClientSeesRst()
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            await context.Response.WriteAsync("part");
            await context.Response.Body.FlushAsync();
            context.Abort();
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        Assert.Equal(SocketError.ConnectionReset, await client.ReceiveEndAsync().InTime());
        await host.Logs.Reached(LogCapture.ConnectionWriteRst);
        Assert.Equal(0, host.Logs.Count(LogCapture.ConnectionError));
    }

    [Fact]
    public async Task WriteAfterClientIsGone_IsANoOp()
    {
        TaskCompletionSource entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource<Exception?> outcome = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(kind, async context =>
        {
            entered.SetResult();
            await context.RequestAborted.WaitForCancellation().InTime();
            try
            {
                for (int i = 0; i < 100; i++)
                {
                    await context.Response.Body.WriteAsync(new byte[10_000]).InTime();
                }

                outcome.SetResult(null);
            }
            catch (Exception e)
            {
                outcome.SetResult(e);
            }
        });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        await entered.Task.InTime();
        client.Reset();
        Assert.Null(await outcome.Task.InTime());
    }

    [Fact]
    public async Task HandlerThrows_500AndTheConnectionGoesOn()
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, context =>
            context.Request.Path == "/throw"
                ? throw new InvalidDataException("from the handler")
                : context.Response.WriteAsync("fine"));
        Socket client = await host.ConnectAsync();
        for (int i = 0; i < 3; i++)
        {
            await client.SendAllAsync("GET /throw HTTP/1.1\r\nHost: a\r\n\r\n");
            Assert.StartsWith(
                "HTTP/1.1 500 ", await client.ReceiveUntilAsync("\r\n\r\n"), StringComparison.Ordinal);
            await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            Assert.Contains("fine", await client.ReceiveUntilAsync("\r\n0\r\n\r\n"), StringComparison.Ordinal);
        }
    }
}
