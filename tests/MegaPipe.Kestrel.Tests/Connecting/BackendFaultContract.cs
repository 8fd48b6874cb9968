// Backends that fail: HttpClient's errors are those that it has over the runtime's own sockets.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Connecting;

public abstract class BackendFaultContract(TransportKind kind)
{
    private static readonly byte[] s_request = new byte[64 * 1024];

    [Fact]
    public async Task Backend_Refuses_ConnectionError()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = harness.Listen();
        EndPoint target = listener.LocalEndPoint!;
        listener.Dispose();
        HttpRequestException error = await Assert.ThrowsAsync<HttpRequestException>(
            () => harness.CreateClient().GetStringAsync($"http://{target}/").InTime());
        Assert.Equal(HttpRequestError.ConnectionError, error.HttpRequestError);
        Assert.Equal(
            SocketError.ConnectionRefused,
            Assert.IsAssignableFrom<SocketException>(error.InnerException).SocketErrorCode);
    }

    [Fact]
    public async Task Backend_NeverAnswersTheConnect_ConnectTimeoutEndsIt()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = await FullListener.CreateAsync(harness);
        HttpClient client = harness.CreateClient(
            configure: handler => handler.ConnectTimeout = TimeSpan.FromMilliseconds(100));
        TaskCanceledException error = await Assert.ThrowsAsync<TaskCanceledException>(
            () => client.GetStringAsync($"http://{listener.LocalEndPoint}/").InTime());
        Assert.IsType<TimeoutException>(error.InnerException);
    }

    [Theory]
    [InlineData("", true)]
    [InlineData("", false)]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Le", true)]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", true)]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", false)]
    [InlineData("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", false)]
    public async Task Backend_EndsInTheMiddle_RequestFails(string answer, bool reset)
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = harness.Listen();
        Task serving = ServeAsync(listener, async socket =>
        {
            await socket.ReceiveUntilAsync("\r\n\r\n");
            await socket.SendAllAsync(answer);
            if (reset)
            {
                socket.Reset();
            }
            else
            {
                socket.Shutdown(SocketShutdown.Both);
            }
        });
        HttpClient client = harness.CreateClient();
        await Assert.ThrowsAnyAsync<HttpRequestException>(
            () => client.PostAsync($"http://{listener.LocalEndPoint}/", new ByteArrayContent([1])).InTime());
        listener.Dispose();
        await serving.InTime();
    }

    /// <summary>Not before the backend has it: a connect goes on for others when its request has gone.</summary>
    [Fact]
    public async Task Backend_NeverAnswers_CancelEndsTheRequestAndTheConnection()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = harness.Listen();
        using CancellationTokenSource cancel = new();
        TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task serving = ServeAsync(listener, async socket =>
        {
            await socket.ReceiveUntilAsync("\r\n\r\n");
            await cancel.CancelAsync();
            await socket.ReceiveEndAsync();
            ended.TrySetResult();
        });
        HttpClient client = harness.CreateClient();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => client.GetStringAsync($"http://{listener.LocalEndPoint}/", cancel.Token).InTime());
        await ended.Task.InTime();
        listener.Dispose();
        await serving.InTime();
    }

    /// <summary>Kestrel ends idle connections after two minutes: a client must notice, and take another one.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(1_000_000)] // large bodies are read in another way, which an end must reach as well
    public async Task Backend_EndsAnIdleConnection_TheNextRequestTakesAnother(int body)
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = harness.Listen();
        int connections = 0;
        Task serving = ServeAsync(listener, async socket =>
        {
            Interlocked.Increment(ref connections);
            await socket.ReceiveUntilAsync("\r\n\r\n");
            await socket.SendAllAsync($"HTTP/1.1 200 OK\r\nContent-Length: {body}\r\n\r\n");
            await socket.SendAllAsync(Client.Pattern(body));
            socket.Shutdown(SocketShutdown.Both);
        });
        HttpClient client = harness.CreateClient();
        for (int i = 1; i <= 5; i++)
        {
            Assert.Equal(
                Client.Pattern(body), await client.GetByteArrayAsync($"http://{listener.LocalEndPoint}/").InTime());
        }

        Assert.Equal(5, connections);
        listener.Dispose();
        await serving.InTime();
    }

    /// <summary>The client reads nothing: the backend's send waits, and what this side holds stays bounded.</summary>
    [Fact]
    public async Task Backend_FasterThanTheReader_Waits()
    {
        await using ConnectHarness harness = ConnectHarness.Create(
            kind, settings => settings.MaxReadBufferSize = 100_000);
        Socket listener = harness.Listen();
        long sent = 0;
        const long Bytes = 256 << 20;
        Task serving = ServeAsync(listener, async socket =>
        {
            await socket.ReceiveUntilAsync("\r\n\r\n");
            await socket.SendAllAsync($"HTTP/1.1 200 OK\r\nContent-Length: {Bytes}\r\n\r\n");
            byte[] chunk = new byte[64 * 1024];
            while (Interlocked.Read(ref sent) < Bytes)
            {
                Interlocked.Add(ref sent, await socket.SendAsync(chunk));
            }
        });
        HttpClient client = harness.CreateClient();
        using HttpResponseMessage response = await client.GetAsync(
            $"http://{listener.LocalEndPoint}/", HttpCompletionOption.ResponseHeadersRead).InTime();
        long before = -1;
        while (before != Interlocked.Read(ref sent))
        {
            before = Interlocked.Read(ref sent);
            await Task.Delay(100);
        }

        Assert.InRange(before, 0, 64 << 20);
        response.Dispose();
        listener.Dispose();
        await serving.InTime();
    }

    /// <summary>The backend reads slowly: the request's content is taken from its source no faster.</summary>
    [Fact]
    public async Task Backend_SlowerThanTheWriter_MakesItWait()
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        Socket listener = harness.Listen();
        listener.ReceiveBufferSize = 64 * 1024;
        TaskCompletionSource readOn = new(TaskCreationOptions.RunContinuationsAsynchronously);
        const int Chunks = 256;
        int written = 0;
        Task serving = ServeAsync(listener, async socket =>
        {
            await socket.ReceiveUntilAsync("\r\n\r\n");
            await readOn.Task;
            await ReceiveLastChunkAsync(socket);
            await socket.SendAllAsync("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            await socket.ReceiveEndAsync();
        });
        using StreamedContent content = new();
        HttpClient client = harness.CreateClient();
        using HttpRequestMessage request = new(HttpMethod.Post, $"http://{listener.LocalEndPoint}/");
        request.Content = content;
        Task<HttpResponseMessage> answer = client.SendAsync(request);
        Stream stream = await content.Stream.InTime();
        Task writing = Task.Run(async () =>
        {
            for (; written < Chunks; written++)
            {
                await stream.WriteAsync(s_request);
            }

            await stream.FlushAsync();
            content.Finish();
        });
        int before = -1;
        while (before != Volatile.Read(ref written) || before == 0)
        {
            before = Volatile.Read(ref written);
            await Task.Delay(100);
        }

        Assert.InRange(before, 1, Chunks / 2);
        readOn.SetResult();
        await writing.InTime();
        using HttpResponseMessage response = await answer.InTime();
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        client.Dispose();
        listener.Dispose();
        await serving.InTime();
    }

    private static async Task ReceiveLastChunkAsync(Socket socket)
    {
        byte[] buffer = new byte[128 * 1024];
        int kept = 0;
        while (!buffer.AsSpan(0, kept).EndsWith("\r\n0\r\n\r\n"u8))
        {
            int received = await socket.ReceiveAsync(buffer.AsMemory(kept, 64 * 1024)).InTime();
            Assert.True(received > 0);
            int all = kept + received;
            kept = Math.Min(all, 16);
            buffer.AsSpan(all - kept, kept).CopyTo(buffer);
        }
    }

    private static async Task ServeAsync(Socket listener, Func<Socket, Task> serve)
    {
        List<Task> connections = [];
        try
        {
            while (true)
            {
                Socket socket = await listener.AcceptAsync();
                connections.Add(ServeOneAsync(socket, serve));
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
        }

        await Task.WhenAll(connections);
    }

    private static async Task ServeOneAsync(Socket socket, Func<Socket, Task> serve)
    {
        using Socket owned = socket;
        try
        {
            await serve(socket);
        }
        catch (SocketException)
        {
            // The client has gone, as it may.
        }
    }
}
