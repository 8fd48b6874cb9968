// Code on the connection itself: handlers without HTTP, and middleware that wraps or replaces Transport.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class ConnectionMiddlewareContract(TransportKind kind)
{
    [Fact]
    public async Task ConnectionHandler_Echo_BytesBothWaysThenFin()
    {
        byte[] bytes = Client.Pattern(2_000_000);
        await using HostHarness host = await StartHandler<EchoHandler>();
        Socket client = await host.ConnectAsync();
        Task<byte[]> received = client.ReceiveToEndAsync();
        await client.SendAllAsync(bytes);
        client.Shutdown(SocketShutdown.Send);
        Assert.Equal(bytes, await received.InTime());
    }

    [Fact]
    public async Task ConnectionHandler_ReturnsAtOnce_ClientSeesFin()
    {
        await using HostHarness host = await StartHandler<ReturningHandler>();
        Socket client = await host.ConnectAsync();
        Assert.Equal("bye"u8.ToArray(), await client.ReceiveToEndAsync());
    }

    [Fact]
    public async Task ConnectionHandler_Throws_ConnectionEndsAndOthersAreServed()
    {
        await using HostHarness host = await StartHandler<ThrowingHandler>();
        for (int i = 0; i < 3; i++)
        {
            Socket client = await host.ConnectAsync();
            await client.SendAllAsync("x");
            await client.ReceiveEndAsync();
        }

        await Eventually.True(() => host.Logs.Entries.Count(entry =>
            entry.Exception is InvalidDataException { Message: "from the handler" }) >= 3);
        Assert.Equal(0, host.Logs.Count(LogCapture.ConnectionError));
    }

    [Fact]
    public async Task Middleware_ReplacesTransport_HttpRunsOnTheReplacement()
    {
        long up = 0;
        long down = 0;
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                await context.Request.Body.CopyToAsync(Stream.Null);
                await context.Response.WriteAsync("hello");
            },
            setup => setup.Listen = listen => listen.Use(next => async connection =>
            {
                IDuplexPipe original = connection.Transport;
                CountingStream input = new(original.Input.AsStream(), count => Interlocked.Add(ref up, count));
                CountingStream output = new(original.Output.AsStream(), count => Interlocked.Add(ref down, count));
                connection.Transport = new StreamPipe(PipeReader.Create(input), PipeWriter.Create(output));
                try
                {
                    await next(connection);
                }
                finally
                {
                    await connection.Transport.Input.CompleteAsync();
                    await connection.Transport.Output.CompleteAsync();
                    connection.Transport = original;
                }
            }));
        HttpClient client = host.CreateClient();
        using ByteArrayContent content = new(new byte[100_000]);
        using HttpResponseMessage response = await client.PostAsync(new Uri("/", UriKind.Relative), content).InTime();
        Assert.Equal("hello", await response.Content.ReadAsStringAsync());
        Assert.True(Interlocked.Read(ref up) > 100_000);
        Assert.True(Interlocked.Read(ref down) > 5);
    }

    [Fact]
    public async Task Middleware_WrapsTransport_RequestAbortedStillFollowsTheClient()
    {
        TaskCompletionSource entered = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                entered.SetResult();
                await context.RequestAborted.WaitForCancellation().InTime();
                aborted.SetResult();
            },
            setup => setup.Listen = listen => listen.Use(next => async connection =>
            {
                IDuplexPipe original = connection.Transport;
                connection.Transport = new StreamPipe(
                    PipeReader.Create(original.Input.AsStream()), PipeWriter.Create(original.Output.AsStream()));
                await next(connection);
                connection.Transport = original;
            }));
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        await entered.Task.InTime();
        client.Reset();
        await aborted.Task.InTime();
    }

    [Fact]
    public async Task Middleware_RefusesConnection_ClientSeesTheEndAndOthersAreServed()
    {
        int connections = 0;
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            context => context.Response.WriteAsync("hello"),
            setup => setup.Listen = listen => listen.Use(next => connection =>
                Interlocked.Increment(ref connections) == 1 ? Task.CompletedTask : next(connection)));
        Socket refused = await host.ConnectAsync();
        Assert.Empty(await refused.ReceiveToEndAsync());
        await host.AssertServesAsync();
    }

    [Fact]
    public async Task Middleware_AbortsConnection_ClientSeesRst()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            context => context.Response.WriteAsync("hello"),
            setup => setup.Listen = listen => listen.Use(_ => async connection =>
            {
                // Not before the client has connected, which would otherwise fail with the same error.
                ReadResult read = await connection.Transport.Input.ReadAsync();
                connection.Transport.Input.AdvanceTo(read.Buffer.End);
                connection.Abort();
            }));
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("x");
        Assert.Equal(SocketError.ConnectionReset, await client.ReceiveEndAsync().InTime());
    }

    private Task<HostHarness> StartHandler<THandler>() where THandler : ConnectionHandler =>
        HostHarness.StartAsync(kind, _ => Task.CompletedTask, setup =>
            setup.Listen = listen => listen.UseConnectionHandler<THandler>());

    private sealed class EchoHandler : ConnectionHandler
    {
        public override async Task OnConnectedAsync(ConnectionContext connection) =>
            await connection.Transport.Input.CopyToAsync(connection.Transport.Output);
    }

    private sealed class ReturningHandler : ConnectionHandler
    {
        public override async Task OnConnectedAsync(ConnectionContext connection) =>
            await connection.Transport.Output.WriteAsync("bye"u8.ToArray());
    }

    private sealed class ThrowingHandler : ConnectionHandler
    {
        public override async Task OnConnectedAsync(ConnectionContext connection)
        {
            await connection.Transport.Input.ReadAsync();
            throw new InvalidDataException("from the handler");
        }
    }

    private sealed record StreamPipe(PipeReader Input, PipeWriter Output) : IDuplexPipe;

    private sealed class CountingStream(Stream inner, Action<int> count) : Stream
    {
        public override bool CanRead => inner.CanRead;

        public override bool CanSeek => false;

        public override bool CanWrite => inner.CanWrite;

        public override long Length => throw new NotSupportedException();

        public override long Position
        {
            get => throw new NotSupportedException();
            set => throw new NotSupportedException();
        }

        public override async ValueTask<int> ReadAsync(
            Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            int read = await inner.ReadAsync(buffer, cancellationToken);
            count(read);
            return read;
        }

        public override ValueTask WriteAsync(
            ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            count(buffer.Length);
            return inner.WriteAsync(buffer, cancellationToken);
        }

        public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

        public override void Flush() => inner.Flush();

        public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
