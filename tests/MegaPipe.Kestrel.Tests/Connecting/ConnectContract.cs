// Outgoing connections: made, refused, canceled, and everything that accepted ones can do.
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace MegaPipe.Kestrel.Tests.Connecting;

public abstract class ConnectContract(TransportKind kind)
{
    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    [InlineData("unix")]
    [InlineData("abstract")]
    public async Task Connect_EveryFamily_BytesGoBothWaysAndFinFollowsThem(string where)
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("mp-connect-");
        try
        {
            await using ConnectHarness harness = ConnectHarness.Create(kind);
            Socket listener = harness.Listen(where switch
            {
                "unix" => new UnixDomainSocketEndPoint(Path.Combine(directory.FullName, "s")),
                "abstract" => new UnixDomainSocketEndPoint($"\0mp-connect-{Guid.NewGuid()}"),
                _ => new IPEndPoint(IPAddress.Parse(where), 0),
            });
            OutgoingPair pair = await harness.PairAsync(listener);
            Assert.Equal(listener.LocalEndPoint, pair.Connection.RemoteEndPoint);
            if (listener.AddressFamily != AddressFamily.Unix)
            {
                Assert.Equal(pair.Backend.RemoteEndPoint, pair.Connection.LocalEndPoint);
            }

            byte[] bytes = Client.Pattern(300_000);
            Task send = pair.Backend.SendAllAsync(bytes);
            Assert.Equal(bytes, await pair.Connection.Transport.Input.ReadExactlyAsync(bytes.Length));
            await send;
            Task<byte[]> received = pair.Backend.ReceiveToEndAsync();
            await pair.Connection.Transport.Output.WriteAsync(bytes).InTime();
            await pair.Connection.Transport.Output.CompleteAsync();
            Assert.Equal(bytes, await received);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Connect_NobodyListens_ConnectionRefused()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = harness.Listen();
        EndPoint target = listener.LocalEndPoint!;
        listener.Dispose();
        SocketException error = await Assert.ThrowsAsync<SocketException>(() => harness.ConnectAsync(target).InTime());
        Assert.Equal(SocketError.ConnectionRefused, error.SocketErrorCode);
    }

    [Fact]
    public async Task Connect_NoSuchUnixSocket_AddressNotAvailable()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        UnixDomainSocketEndPoint target = new(Path.Combine(Path.GetTempPath(), $"mp-none-{Guid.NewGuid()}"));
        SocketException error = await Assert.ThrowsAsync<SocketException>(() => harness.ConnectAsync(target).InTime());
        Assert.Equal(SocketError.AddressNotAvailable, error.SocketErrorCode);
    }

    [Fact]
    public async Task Connect_TokenCanceledBefore_Canceled()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = harness.Listen();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => harness.ConnectAsync(listener.LocalEndPoint!, new CancellationToken(canceled: true)).InTime());
    }

    [Fact]
    public async Task Connect_TokenCanceledWhileNobodyAnswers_CanceledAndNothingStays()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = await FullListener.CreateAsync(harness);
        using CancellationTokenSource cancel = new();
        Task[] connects = [.. Enumerable.Range(0, 8).Select(
            _ => (Task)harness.ConnectAsync(listener.LocalEndPoint!, cancel.Token))];
        Assert.All(connects, connect => Assert.False(connect.IsCompleted));
        await cancel.CancelAsync();
        foreach (Task connect in connects)
        {
            OperationCanceledException error =
                await Assert.ThrowsAnyAsync<OperationCanceledException>(() => connect.InTime());
            Assert.Equal(cancel.Token, error.CancellationToken);
        }

        // Not only when the factory ends.
        await Eventually.True(() => LeakCheck.Sum(harness.Status, "handles_live") == 0);
    }

    [Fact]
    public async Task Connect_TokenCanceledAtAnyMoment_ConnectionOrCanceled()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = harness.Listen();
        Random random = new(15);
        Task accepting = AcceptAll(listener, harness);
        for (int i = 0; i < 200; i++)
        {
            using CancellationTokenSource cancel = new();
            Task<ConnectionContext> connect = harness.ConnectAsync(listener.LocalEndPoint!, cancel.Token);
            Thread.SpinWait(random.Next(2000));
            await cancel.CancelAsync();
            try
            {
                await (await connect.InTime()).DisposeAsync().InTime();
            }
            catch (OperationCanceledException)
            {
            }
        }

        listener.Dispose();
        await accepting.InTime();
    }

    [Fact]
    public async Task Connect_ManyAtOnce_EachGetsItsOwnBytes()
    {
        const int Count = 200;
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = harness.Listen();
        Task echoing = EchoAll(listener, harness);
        await Task.WhenAll(Enumerable.Range(0, Count).Select(async i =>
        {
            ConnectionContext connection = await harness.ConnectAsync(listener.LocalEndPoint!).InTime();
            byte[] bytes = Client.Pattern(10_000, i);
            await connection.Transport.Output.WriteAsync(bytes).InTime();
            Assert.Equal(bytes, await connection.Transport.Input.ReadExactlyAsync(bytes.Length));
            await connection.DisposeAsync().InTime();
        })).InTime();
        listener.Dispose();
        await echoing.InTime();
        if (harness.Status is { } status && kind.IsMegaPipe())
        {
            Assert.Equal(Count, LeakCheck.Sum(status, "connected"));
            Assert.Equal(0, LeakCheck.Sum(status, "accepted"));
            await Eventually.True(() => LeakCheck.Sum(status, "connections") == 0);
        }
    }

    [Fact]
    public async Task Connection_Options_AreThoseOfTheSocket()
    {
        await using ConnectHarness harness = ConnectHarness.Create(
            kind, settings => settings.MegaPipe = options => options.KeepAlive = true);
        OutgoingPair pair = await harness.PairAsync();
        Socket socket = pair.Connection.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket;
        Assert.True(socket.NoDelay);
        if (kind != TransportKind.Sockets)
        {
            Assert.Equal(1, socket.GetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive));
        }

        Assert.Equal(pair.Backend.LocalEndPoint, socket.RemoteEndPoint);
        Assert.Equal(pair.Connection.LocalEndPoint, socket.LocalEndPoint);
    }

    [Fact]
    public async Task Abort_Connection_BackendSeesReset()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        OutgoingPair pair = await harness.PairAsync();
        pair.Connection.Abort(new ConnectionAbortedException("on purpose"));
        Assert.Equal(SocketError.ConnectionReset, await pair.Backend.ReceiveEndAsync());
        Assert.NotNull(await pair.Connection.Transport.Input.ReadFaultAsync());
    }

    [Fact]
    public async Task Backend_Resets_ReadSaysSo()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        OutgoingPair pair = await harness.PairAsync();
        pair.Backend.Reset();
        Assert.IsType<ConnectionResetException>(await pair.Connection.Transport.Input.ReadFaultAsync());
    }

    [Fact]
    public async Task Backend_ShutsDown_ReadEndsAndWritesGoOn()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        OutgoingPair pair = await harness.PairAsync();
        await pair.Backend.SendAllAsync("last");
        pair.Backend.Shutdown(SocketShutdown.Send);
        Assert.Equal("last"u8.ToArray(), await pair.Connection.Transport.Input.ReadToEndAsync());
        await pair.Connection.Transport.Output.WriteAsync("more"u8.ToArray()).InTime();
        await pair.Connection.Transport.Output.CompleteAsync();
        Assert.Equal("more"u8.ToArray(), await pair.Backend.ReceiveToEndAsync());
    }

    [Fact]
    public async Task Backend_ReadsNothing_FlushWaitsUntilItDoes()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        OutgoingPair pair = await harness.PairAsync();
        byte[] chunk = Client.Pattern(64 * 1024);
        long written = 0;
        Task<FlushResult> flush;
        do
        {
            flush = pair.Connection.Transport.Output.WriteAsync(chunk).AsTask();
            written += chunk.Length;
            Assert.True(written < 100 << 20, "no back-pressure");
        }
        while (await Task.WhenAny(flush, Task.Delay(200)) == flush);
        long received = 0;
        byte[] buffer = new byte[64 * 1024];
        while (received < written)
        {
            received += await pair.Backend.ReceiveAsync(buffer).InTime();
        }

        Assert.False((await flush.InTime()).IsCompleted);
        Assert.Equal(written, received);
    }

    [Fact]
    public async Task Connection_NobodyReads_BackendStopsAtTheLimit()
    {
        await using ConnectHarness harness = ConnectHarness.Create(
            kind, settings => settings.MaxReadBufferSize = 100_000);
        OutgoingPair pair = await harness.PairAsync();
        BlockedSend blocked = await pair.Backend.SendUntilBlockedAsync(
            100 << 20, harness.Logs.Reached(LogCapture.ConnectionPause));
        Assert.InRange(blocked.Sent, 100_000 - 4095, 99 << 20);
        long length = 0;
        while (length < blocked.Sent)
        {
            ReadResult result = await pair.Connection.Transport.Input.ReadAsync().InTime();
            length += result.Buffer.Length;
            pair.Connection.Transport.Input.AdvanceTo(result.Buffer.End);
        }

        await blocked.Pending.InTime();
    }

    private static async Task AcceptAll(Socket listener, ConnectHarness harness)
    {
        try
        {
            while (true)
            {
                harness.Own(await listener.AcceptAsync());
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
        }
    }

    private static async Task EchoAll(Socket listener, ConnectHarness harness)
    {
        List<Task> echoes = [];
        try
        {
            while (true)
            {
                echoes.Add(EchoAsync(harness.Own(await listener.AcceptAsync())));
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
        }

        await Task.WhenAll(echoes);
    }

    private static async Task EchoAsync(Socket socket)
    {
        byte[] buffer = new byte[4096];
        while (await socket.ReceiveAsync(buffer) is > 0 and { } count)
        {
            await socket.SendAllAsync(buffer.AsMemory(0, count));
        }

        socket.Dispose();
    }
}
