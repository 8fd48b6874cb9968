// Ends at bad moments: aborts from any thread, resets and disposals racing, hosts stopped in mid-transfer.
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Faults;

public abstract class SuddenEndContract(TransportKind kind, ITestOutputHelper output)
{
    private const long OneGibibyte = 1024L * 1024 * 1024;

    [Fact]
    public async Task Abort_FromAnyThreadAtAnyMoment_NothingIsLeft()
    {
        const int Connections = 150;
        int seed = NewSeed();
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
        {
            settings.TrackMemory = true;
            settings.MaxReadBufferSize = 64 * 1024;
        });
        var listener = await harness.BindAsync();
        for (int round = 0; round < Connections / 10; round++)
        {
            List<Task> running = [];
            for (int i = 0; i < 10; i++)
            {
                ConnectedPair pair = await harness.ConnectAsync(listener);
                running.Add(LiveAndDieAsync(pair, new Random(seed + (round * 10) + i)));
            }

            await Task.WhenAll(running);
        }

        await harness.StopAsync();
        await Eventually.True(
            () => harness.Memory.BlocksOut == 0, () => $"{harness.Memory.BlocksOut} blocks, seed {seed}");
        if (kind.IsMegaPipe())
        {
            // Stock loses a race here now and then and logs an ObjectDisposedException or the like.
            Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionError));
        }
    }

    [Fact]
    public async Task Abort_SendInFlight_BlocksComeBackAndOthersGoOn()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
        {
            settings.TrackMemory = true;
            settings.MaxWriteBufferSize = 0;
        });
        var listener = await harness.BindAsync();
        ConnectedPair other = await harness.ConnectAsync(listener);
        for (int i = 0; i < 10; i++)
        {
            ConnectedPair pair = await harness.ConnectAsync(listener);
            await pair.Server.Transport.Output.WriteAsync(new byte[8 * 1024 * 1024]).InTime();
            pair.Server.Abort(new ConnectionAbortedException("because"));
            await pair.Server.DisposeAsync().InTime();
            Assert.Equal(SocketError.ConnectionReset, await pair.Client.ReceiveEndAsync());
            await other.Client.SendAllAsync("x");
            await other.Server.Transport.Input.ReadExactlyAsync(1);
        }

        await other.Server.DisposeAsync().InTime();
        await Eventually.True(() => harness.Memory.BlocksOut == 0, () => $"{harness.Memory.BlocksOut} blocks out");
    }

    [Fact]
    public async Task Stop_DuringAGibibyteDownload_EndsAtTheTimeout()
    {
        TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                byte[] chunk = new byte[128 * 1024];
                context.Response.ContentLength = OneGibibyte;
                try
                {
                    for (long sent = 0; sent < OneGibibyte; sent += chunk.Length)
                    {
                        context.RequestAborted.ThrowIfCancellationRequested();
                        await context.Response.Body.WriteAsync(chunk);
                    }
                }
                finally
                {
                    ended.SetResult();
                }
            },
            setup => setup.ShutdownTimeout = TimeSpan.FromMilliseconds(200));
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        long received = (await client.ReceiveExactlyAsync(4 * 1024 * 1024)).Length;
        // The client takes a little at a time, so that the transfer cannot end before the timeout does.
        Task stop = host.StopAsync();
        byte[] buffer = new byte[16 * 1024];
        int read = 1;
        try
        {
            while (read > 0 && received < OneGibibyte)
            {
                received += read = await client.ReceiveAsync(buffer.AsMemory()).InTime();
                if (!stop.IsCompleted)
                {
                    await Task.WhenAny(stop, Task.Delay(TimeSpan.FromMilliseconds(1)));
                }
            }
        }
        catch (SocketException e)
        {
            Assert.Equal(SocketError.ConnectionReset, e.SocketErrorCode);
        }

        await stop.InTime();
        await ended.Task.InTime();
        Assert.True(received < OneGibibyte, "the whole download came in spite of the stop");
    }

    [Fact]
    public async Task Stop_DuringAGibibyteUpload_EndsAtTheTimeout()
    {
        TaskCompletionSource started = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource<Exception?> ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                try
                {
                    byte[] buffer = new byte[4 * 1024];
                    while (await context.Request.Body.ReadAsync(buffer) > 0)
                    {
                        started.TrySetResult();
                        await Task.Delay(TimeSpan.FromMilliseconds(1));
                    }

                    ended.SetResult(null);
                }
                catch (Exception e)
                {
                    ended.SetResult(e);
                }
            },
            setup =>
            {
                setup.ShutdownTimeout = TimeSpan.FromMilliseconds(200);
                setup.Kestrel = options =>
                {
                    options.Limits.MaxRequestBodySize = null;
                    options.Limits.MinRequestBodyDataRate = null;
                };
            });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync($"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {OneGibibyte}\r\n\r\n");
        Task<SocketError?> upload = Task.Run(async () =>
        {
            try
            {
                byte[] chunk = new byte[64 * 1024];
                for (long sent = 0; sent < OneGibibyte; sent += chunk.Length)
                {
                    await client.SendAsync(chunk);
                }

                return (SocketError?)null;
            }
            catch (SocketException e)
            {
                return e.SocketErrorCode;
            }
        });
        await started.Task.InTime();
        await host.StopAsync();
        Assert.NotNull(await upload.InTime());
        Assert.NotNull(await ended.Task.InTime());
    }

    /// <summary>
    /// A connection that echoes while its client talks, and that several sides end at random moments.
    /// </summary>
    private static async Task LiveAndDieAsync(ConnectedPair pair, Random random)
    {
        int echoYields = random.Next(0, 200);
        int abortYields = random.Next(0, 400);
        int clientYields = random.Next(0, 400);
        int chunkSize = random.Next(1, 60_000);
        int end = random.Next(4);
        string step = "start";
        Task echo = Task.Run(async () =>
        {
            try
            {
                while (true)
                {
                    step = "read";
                    var result = await pair.Server.Transport.Input.ReadAsync();
                    step = "write";
                    foreach (ReadOnlyMemory<byte> segment in result.Buffer)
                    {
                        await pair.Server.Transport.Output.WriteAsync(segment);
                    }

                    pair.Server.Transport.Input.AdvanceTo(result.Buffer.End);
                    if (result.IsCompleted)
                    {
                        return;
                    }
                }
            }
            catch (ConnectionAbortedException)
            {
            }
            catch (ConnectionResetException)
            {
            }
            finally
            {
                await YieldAsync(echoYields);
                step = "dispose";
                await pair.Server.DisposeAsync();
            }
        });
        Task abort = Task.Run(async () =>
        {
            await YieldAsync(abortYields);
            if (end != 1)
            {
                pair.Server.Abort(new ConnectionAbortedException("random"));
                pair.Server.Transport.Input.CancelPendingRead();
            }
        });
        Task client = Task.Run(async () =>
        {
            try
            {
                byte[] chunk = new byte[chunkSize];
                for (int i = 0; i < 5; i++)
                {
                    await pair.Client.SendAsync(chunk);
                    await YieldAsync(clientYields / 5);
                }

                if (end == 2)
                {
                    pair.Client.Shutdown(SocketShutdown.Send);
                }
                else if (end is 1 or 3)
                {
                    pair.Client.Reset();
                }
            }
            catch (SocketException)
            {
            }
        });
        await abort.InTime($"abort, way {end}");
        await client.InTime($"client, way {end}");
        await Eventually.True(() => echo.IsCompleted, () => $"way {end}, step {step}", "echo and dispose ended");
        await echo;
    }

    private static async Task YieldAsync(int times)
    {
        for (int i = 0; i < times; i++)
        {
            await Task.Yield();
        }
    }

    private int NewSeed()
    {
        int seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        return seed;
    }
}
