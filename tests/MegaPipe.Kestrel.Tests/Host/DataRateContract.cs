// Minimum data rates: back-pressure is real enough that a client below the rate is cut off, and one at it is not.
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class DataRateContract(TransportKind kind)
{
    private const int BytesPerSecond = 1_000_000;
    private const int SmallSocketBuffer = 32 * 1024;
    private const int Body = 12_000_000;
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(1.5);

    [Fact]
    public async Task ResponseRate_ClientReadsNothing_IsCutOffAndAFastOneIsNotAlsoWithTls()
    {
        TaskCompletionSource aborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource tlsAborted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                if (context.Request.Path == "/slow")
                {
                    byte[] chunk = new byte[64 * 1024];
                    while (!context.RequestAborted.IsCancellationRequested)
                    {
                        await context.Response.Body.WriteAsync(chunk);
                    }

                    (context.Request.IsHttps ? tlsAborted : aborted).SetResult();
                }
                else
                {
                    context.Response.ContentLength = Body;
                    await context.Response.Body.WriteAsync(new byte[Body]);
                }
            },
            setup =>
            {
                setup.Kestrel = options =>
                    options.Limits.MinResponseDataRate = new MinDataRate(BytesPerSecond, Grace);
                setup.Endpoints = options =>
                {
                    options.Listen(IPAddress.Loopback, 0, listen => Protocols.Configure(listen, "http1"));
                    options.Listen(IPAddress.Loopback, 0, listen => Protocols.Configure(listen, "tls"));
                };
            });
        await Task.WhenAll(
            CompareClientsAsync(host, 0, "http1", aborted.Task), CompareClientsAsync(host, 1, "tls", tlsAborted.Task));
    }

    [Fact]
    public async Task RequestRate_ClientSendsNothing_408()
    {
        TaskCompletionSource<Exception?> outcome = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                try
                {
                    await context.Request.Body.CopyToAsync(Stream.Null);
                    outcome.SetResult(null);
                }
                catch (Exception e)
                {
                    outcome.SetResult(e);
                    throw;
                }
            },
            setup => setup.Kestrel = options =>
                options.Limits.MinRequestBodyDataRate = new MinDataRate(BytesPerSecond, Grace));
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin");
        Assert.StartsWith(
            "HTTP/1.1 408 ", await client.ReceiveUntilAsync("\r\n\r\n"), StringComparison.Ordinal);
        Assert.Equal(
            StatusCodes.Status408RequestTimeout,
            Assert.IsAssignableFrom<Microsoft.AspNetCore.Http.BadHttpRequestException>(await outcome.Task.InTime())
                .StatusCode);
    }

    private static async Task CompareClientsAsync(HostHarness host, int address, string protocol, Task aborted)
    {
        IPEndPoint target = new(IPAddress.Loopback, new Uri(host.Addresses[address]).Port);
        Socket slow = await host.ConnectAsync(target, socket => socket.ReceiveBufferSize = SmallSocketBuffer);
        await using Stream slowStream = await OpenAsync(slow, protocol);
        await slowStream.WriteAsync("GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray()).InTime();

        // Meanwhile a client well above the rate, over several grace periods.
        Socket steady = await host.ConnectAsync(target, socket => socket.ReceiveBufferSize = SmallSocketBuffer);
        await using Stream steadyStream = await OpenAsync(steady, protocol);
        await steadyStream.WriteAsync("GET /steady HTTP/1.0\r\nHost: localhost\r\n\r\n"u8.ToArray()).InTime();
        long received = 0;
        byte[] buffer = new byte[64 * 1024];
        int read;
        while ((read = await steadyStream.ReadAsync(buffer.AsMemory()).InTime()) > 0)
        {
            received += read;
            await Task.Delay(TimeSpan.FromMilliseconds(10));
        }

        Assert.True(received > Body, $"the steady client was cut off after {received} bytes");
        await aborted.InTime();
    }

    private static async Task<Stream> OpenAsync(Socket socket, string protocol)
    {
        NetworkStream network = new(socket);
        if (protocol == "http1")
        {
            return network;
        }

        SslStream tls = new(network, false, (_, _, _, _) => true);
        await tls.AuthenticateAsClientAsync("localhost").InTime();
        return tls;
    }
}
