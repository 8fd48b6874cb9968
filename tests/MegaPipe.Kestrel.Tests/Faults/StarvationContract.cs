// One side that does not do its part: clients that never read, handlers that never read, connections that idle.
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Faults;

public abstract class StarvationContract(TransportKind kind)
{
    private const int ManyConnections = 10_000;
    private static readonly byte[] BigBody = new byte[32 * 1024 * 1024];

    [Fact]
    public async Task ClientsThatNeverRead_OthersAreServedAndTheirEndFreesEverything()
    {
        int writing = 0;
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                if (context.Request.Path == "/big")
                {
                    Interlocked.Increment(ref writing);
                    context.Response.ContentLength = BigBody.Length;
                    await context.Response.Body.WriteAsync(BigBody);
                }
                else
                {
                    await context.Response.WriteAsync("hello");
                }
            },
            setup => setup.Kestrel = options => options.Limits.MinResponseDataRate = null);
        List<Socket> clients = [];
        for (int i = 0; i < 8; i++)
        {
            Socket client = await host.ConnectAsync(beforeConnect: socket => socket.ReceiveBufferSize = 16 * 1024);
            await client.SendAllAsync("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
            clients.Add(client);
        }

        await Eventually.True(() => Volatile.Read(ref writing) == clients.Count);
        for (int i = 0; i < 20; i++)
        {
            await host.AssertServesAsync();
        }

        clients.ForEach(client => client.Reset());
    }

    [Fact]
    public async Task HandlersThatNeverReadTheirUploads_OtherConnectionsGoOn()
    {
        // Together more than any receive buffers there are: each connection's unread bytes go up to its limit.
        const int Uploads = 12;
        int entered = 0;
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                if (context.Request.Path == "/hold")
                {
                    Interlocked.Increment(ref entered);
                    await release.Task;
                }

                long total = 0;
                byte[] buffer = new byte[64 * 1024];
                int read;
                while ((read = await context.Request.Body.ReadAsync(buffer)) > 0)
                {
                    total += read;
                }

                await context.Response.WriteAsync($"[{total}]");
            },
            setup => setup.Kestrel = options => options.Limits.MinRequestBodyDataRate = null);
        const int UploadBytes = 2_000_000;
        List<Socket> clients = [];
        List<Task> sends = [];
        for (int i = 0; i < Uploads; i++)
        {
            Socket client = await host.ConnectAsync();
            clients.Add(client);
            await client.SendAllAsync($"POST /hold HTTP/1.1\r\nHost: a\r\nContent-Length: {UploadBytes}\r\n\r\n");
            sends.Add(Task.Run(() => client.SendAllAsync(new byte[UploadBytes])));
        }

        await Eventually.True(() => Volatile.Read(ref entered) == Uploads);
        await host.Logs.Reached(LogCapture.ConnectionPause, 1);
        for (int i = 0; i < 20; i++)
        {
            Socket other = await host.ConnectAsync();
            await other.SendAllAsync("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n");
            await other.SendAllAsync(new byte[10_000]);
            Assert.Contains("[10000]", await other.ReceiveUntilAsync("]"), StringComparison.Ordinal);
        }

        release.SetResult();
        await Task.WhenAll(sends).InTime();
        foreach (Socket client in clients)
        {
            Assert.Contains($"[{UploadBytes}]", await client.ReceiveUntilAsync("]"), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task NoMemoryWhileBodiesArrive_ServerGoesOnWhenThereIsSome()
    {
        const int Uploads = 12;
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously);
        int waiting = 0;
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                if (context.Request.Path == "/wait")
                {
                    Interlocked.Increment(ref waiting);
                    await release.Task;
                }
            },
            setup =>
            {
                setup.Transport.TrackMemory = true;
                setup.Kestrel = options => options.Limits.MinRequestBodyDataRate = null;
            });
        List<Socket> uploads = [];
        for (int i = 0; i < Uploads; i++)
        {
            Socket socket = await host.ConnectAsync();
            await socket.SendAllAsync("POST /wait HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
            uploads.Add(socket);
        }

        await Eventually.True(() => Volatile.Read(ref waiting) == Uploads);
        host.Memory.Refuse = true;
        foreach (Socket socket in uploads)
        {
            await socket.SendAllAsync(new string('x', 8000));
        }

        if (kind is TransportKind.Sockets or TransportKind.MegaPipeSmallBuffers)
        {
            await Eventually.True(() => host.Memory.Refused > 0);
        }

        host.Memory.Refuse = false;
        for (int i = 0; i < 5; i++)
        {
            await host.AssertServesAsync();
        }

        uploads.ForEach(socket => socket.Dispose());
        release.SetResult();
    }

    [FactWithFds(ManyConnections)]
    public async Task TenThousandIdleConnections_NewOnesAreServedAndAllEndWell()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            context => context.Response.WriteAsync("hello"),
            // One log entry per connection and event is what this test is not about.
            setup => setup.QuietLogs = true);
        await using (ChildProcess child = await ChildProcess.StartIdleClientsAsync(host.EndPoint.Port, ManyConnections))
        {
            Assert.Equal($"{ManyConnections}", child.Answer);
            for (int i = 0; i < 10; i++)
            {
                await host.AssertServesAsync();
            }
        }

        await host.AssertServesAsync();
    }

    [Fact]
    public async Task FdLimitReachedAtAccept_LivingConnectionsWorkAndAcceptRecovers()
    {
        const int SpareFds = 20;
        const int TooMany = 60;
        await using ChildProcess server = await ChildProcess.StartLimitedServerAsync(kind, SpareFds);
        System.Net.IPEndPoint target = new(
            System.Net.IPAddress.Loopback,
            int.Parse(server.Answer, System.Globalization.CultureInfo.InvariantCulture));
        List<Socket> clients = [];
        try
        {
            for (int i = 0; i < TooMany; i++)
            {
                Socket client = Client.Create(target);
                clients.Add(client);
                // The kernel completes the handshake; whether the server can accept it is another matter.
                await client.ConnectAsync(target).InTime();
                // The first one was accepted well before the limit: it is served up to it and while it lasts.
                await clients[0].SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
                await clients[0].ReceiveUntilAsync("hello\r\n0\r\n\r\n");
            }
        }
        catch (Exception e)
        {
            throw new InvalidOperationException($"The server's errors: {await server.EndAsync()}", e);
        }
        finally
        {
            clients.ForEach(client => client.Dispose());
        }

        // Fds are back: new clients are served, if not at once then after the back-off.
        for (int i = 0; i < 10; i++)
        {
            using Socket client = Client.Create(target);
            await client.ConnectAsync(target).InTime();
            await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            byte[] response = await client.ReceiveToEndAsync();
            Assert.StartsWith(
                "HTTP/1.1 200 ", System.Text.Encoding.ASCII.GetString(response), StringComparison.Ordinal);
        }
    }
}
