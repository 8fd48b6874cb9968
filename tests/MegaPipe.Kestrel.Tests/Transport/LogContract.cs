// What a connection's life writes into the log: ids, levels, names, arguments, and how often.
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class LogContract(TransportKind kind)
{
    private static readonly (int Id, string Name)[] Names =
    [
        (LogCapture.ConnectionPause, "ConnectionPause"),
        (LogCapture.ConnectionResume, "ConnectionResume"),
        (LogCapture.ConnectionReadFin, "ConnectionReadFin"),
        (LogCapture.ConnectionWriteFin, "ConnectionWriteFin"),
        (LogCapture.ConnectionWriteRst, "ConnectionWriteRst"),
        (LogCapture.ConnectionReset, "ConnectionReset"),
    ];

    [Fact]
    public async Task Log_EveryEventOfALife_DebugWithStockIdAndNameAndTheConnectionId()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = 16 * 1024);
        var listener = await harness.BindAsync();
        ConnectedPair closes = await harness.ConnectAsync(listener);
        ConnectedPair pauses = await harness.ConnectAsync(listener);
        ConnectedPair resets = await harness.ConnectAsync(listener);
        HashSet<string> ids =
            [closes.Server.ConnectionId, pauses.Server.ConnectionId, resets.Server.ConnectionId];

        await pauses.Client.SendUntilBlockedAsync(long.MaxValue, harness.Logs.Reached(LogCapture.ConnectionPause));
        Assert.True(pauses.Server.Transport.Input.TryRead(out var result));
        pauses.Server.Transport.Input.AdvanceTo(result.Buffer.End);
        await harness.Logs.Reached(LogCapture.ConnectionResume);
        pauses.Server.Abort();
        resets.Client.Reset();
        await harness.Logs.Reached(LogCapture.ConnectionReset);
        closes.Client.Shutdown(SocketShutdown.Send);
        await harness.Logs.Reached(LogCapture.ConnectionReadFin);
        await closes.Server.DisposeAsync().InTime();

        foreach ((int id, string name) in Names)
        {
            await harness.Logs.Reached(id);
            LogEntry entry = harness.Logs.Transport(id)[0];
            Assert.Equal(LogLevel.Debug, entry.Level);
            Assert.Equal(name, entry.Id.Name);
            Assert.Contains(ids, connectionId => entry.Message.Contains(connectionId, StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task Log_GracefulClose_OneWriteFinWithItsReasonAndNoError()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Server.Transport.Output.CompleteAsync();
        Assert.Empty(await pair.Client.ReceiveToEndAsync());
        await pair.Server.DisposeAsync().InTime();
        LogEntry entry = Assert.Single(harness.Logs.Transport(LogCapture.ConnectionWriteFin));
        Assert.Contains("send loop completed gracefully", entry.Message, StringComparison.Ordinal);
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionWriteRst));
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionError));
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionReset));
        Assert.DoesNotContain(harness.Logs.Entries, logged => logged.IsTransport && logged.Level > LogLevel.Debug);
    }

    [Fact]
    public async Task Log_ManyKindsOfEnd_ExactlyOneFinOrRstPerConnection()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        var listener = await harness.BindAsync();
        List<ConnectedPair> pairs = [];
        for (int i = 0; i < 24; i++)
        {
            pairs.Add(await harness.ConnectAsync(listener));
        }

        for (int i = 0; i < pairs.Count; i++)
        {
            switch (i % 4)
            {
                case 0:
                    pairs[i].Client.Close();
                    break;
                case 1:
                    pairs[i].Client.Reset();
                    break;
                case 2:
                    pairs[i].Server.Abort(new ConnectionAbortedException("because"));
                    break;
                default:
                    await pairs[i].Server.Transport.Output.CompleteAsync();
                    break;
            }
        }

        foreach (ConnectedPair pair in pairs)
        {
            await pair.Server.DisposeAsync().InTime();
        }

        foreach (ConnectedPair pair in pairs)
        {
            int ends = harness.Logs.Transport(LogCapture.ConnectionWriteFin)
                .Concat(harness.Logs.Transport(LogCapture.ConnectionWriteRst))
                .Count(entry => entry.Message.Contains(pair.Server.ConnectionId, StringComparison.Ordinal));
            Assert.True(ends == 1, $"{ends} ends logged; {harness.Logs.Describe()}");
        }

        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionError));
    }
}
