// The peer ends a connection whose reading is paused: the application is told although it reads nothing. Stock reads
// nothing then either and does not notice, so this is no contract.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Faults;

public sealed class EndWhilePausedTests
{
    private const int Limit = 16 * 1024;

    /// <summary>Beyond the limit, and little enough for the kernel to take before anybody reads.</summary>
    private const int Sent = 96 * 1024;

    [Theory]
    [InlineData(TransportKind.MegaPipe, false)]
    [InlineData(TransportKind.MegaPipe, true)]
    [InlineData(TransportKind.MegaPipeThreadPool, false)]
    [InlineData(TransportKind.MegaPipeThreadPool, true)]
    [InlineData(TransportKind.MegaPipeInline, true)]
    [InlineData(TransportKind.MegaPipeNoLwsocket, true)]
    [InlineData(TransportKind.MegaPipeSmallBuffers, false)]
    public async Task RequestAborted_UploadIsPausedAndNothingIsWritten_Fires(TransportKind kind, bool reset)
    {
        TaskCompletionSource aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                await context.RequestAborted.WaitForCancellation().InTime();
                aborted.SetResult();
            },
            setup =>
            {
                setup.Transport.MaxReadBufferSize = Limit;
                setup.Kestrel = options => options.Limits.MinRequestBodyDataRate = null;
            });
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n");
        await client.SendAllAsync(new byte[Sent]);
        await host.Logs.Reached(LogCapture.ConnectionPause);
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

    [Theory]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeThreadPool)]
    [InlineData(TransportKind.MegaPipeSmallBuffers)]
    public async Task ConnectionClosed_FinWhilePaused_FiresAndEveryByteCanStillBeRead(TransportKind kind)
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = Limit);
        ConnectedPair pair = await harness.ConnectAsync();
        byte[] bytes = Client.Pattern(Sent);
        await pair.Client.SendAllAsync(bytes);
        await harness.Logs.Reached(LogCapture.ConnectionPause);
        pair.Client.Shutdown(SocketShutdown.Send);
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        Assert.Equal(bytes, await pair.Server.Transport.Input.ReadToEndAsync());
        await pair.Server.Transport.Output.WriteAsync(new byte[] { 7 }).InTime();
        await pair.Server.Transport.Output.CompleteAsync();
        Assert.Equal([7], await pair.Client.ReceiveToEndAsync());
    }

    [Theory]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeThreadPool)]
    public async Task ConnectionClosed_ResetWhilePaused_FiresAndReadingThrows(TransportKind kind)
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = Limit);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Client.SendAllAsync(new byte[Sent]);
        await harness.Logs.Reached(LogCapture.ConnectionPause);
        pair.Client.Reset();
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        await Assert.ThrowsAsync<ConnectionResetException>(async () =>
        {
            while (true)
            {
                ReadResult result = await pair.Server.Transport.Input.ReadAsync().InTime();
                pair.Server.Transport.Input.AdvanceTo(result.Buffer.End);
                Assert.False(result.IsCompleted);
            }
        });
        Assert.Equal(1, harness.Logs.Count(LogCapture.ConnectionReset));
    }
}
