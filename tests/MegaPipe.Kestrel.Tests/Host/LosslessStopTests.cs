// A host that stops while clients open a connection for each request: who was connected gets an answer. The stock
// transport resets some; tests/lossless/stop counts both.
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Host;

[Trait("Transport", "MegaPipe"), Trait("Area", "Accept")]
public sealed class LosslessStopTests
{
    private const int Clients = 6;
    private const string Request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

    [Theory]
    [InlineData(TransportKind.MegaPipe, 2, false)]
    [InlineData(TransportKind.MegaPipeInline, 1, false)]
    [InlineData(TransportKind.MegaPipeThreadPool, 3, false)]
    [InlineData(TransportKind.MegaPipeNoLwsocket, 3, false)]
    [InlineData(TransportKind.MegaPipe, 2, true)]
    public async Task Stop_ClientsConnectForEachRequest_EveryOneIsAnsweredOrRefused(
        TransportKind kind, int channels, bool tls)
    {
        await using HostHarness host = await HostHarness.StartAsync(
            kind, context => context.Response.WriteAsync("x"), setup =>
            {
                setup.QuietLogs = true;
                setup.Transport.MegaPipe = options => options.Channels = channels;
                setup.Listen = listen => _ = tls ? listen.UseHttps(TestCertificate.Instance) : listen;
            });
        await RunAsync(host, new IPEndPoint(IPAddress.Loopback, host.EndPoint.Port), tls);
    }

    [Fact]
    public async Task Stop_ClientsOfAUnixSocketConnectForEachRequest_EveryOneIsAnsweredOrRefused()
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("mp-stop-");
        try
        {
            string path = Path.Combine(directory.FullName, "s.sock");
            await using HostHarness host = await HostHarness.StartAsync(
                TransportKind.MegaPipe, context => context.Response.WriteAsync("x"), setup =>
                {
                    setup.QuietLogs = true;
                    setup.Transport.MegaPipe = options => options.Channels = 2;
                    setup.Endpoints = kestrel => kestrel.ListenUnixSocket(path);
                });
            await RunAsync(host, new UnixDomainSocketEndPoint(path), tls: false);
        }
        finally
        {
            directory.Delete(recursive: true);
        }
    }

    /// <summary>Threads that block: how soon a client asks does not depend on the pool that serves it, too.</summary>
    private static async Task RunAsync(HostHarness host, EndPoint target, bool tls)
    {
        using CountdownEvent warm = new(Clients);
        Task<string?>[] clients =
        [
            .. Enumerable.Range(0, Clients).Select(_ => Task.Factory.StartNew(
                () => AskUntilRefused(target, tls, warm), CancellationToken.None, TaskCreationOptions.LongRunning,
                TaskScheduler.Default)),
        ];
        await Task.Run(() => Assert.True(warm.Wait(InTimeExtensions.Limit)));
        await host.StopAsync();
        Assert.All(await Task.WhenAll(clients).InTime(), Assert.Null);
    }

    /// <summary>null, or how it was lost.</summary>
    private static string? AskUntilRefused(EndPoint target, bool tls, CountdownEvent warm)
    {
        for (int answered = 0; ; answered++)
        {
            using Socket socket = Client.Create(target);
            try
            {
                socket.Connect(target);
            }
            catch (SocketException refused) when (
                refused.SocketErrorCode is SocketError.ConnectionRefused or SocketError.AddressNotAvailable)
            {
                return null;
            }

            try
            {
                string answer = Ask(socket, tls);
                if (!answer.StartsWith("HTTP/1.1 200", StringComparison.Ordinal))
                {
                    return $"After {answered} answers: “{answer}”";
                }
            }
            catch (IOException error)
            {
                return $"After {answered} answers: {error.Message}";
            }

            if (answered == 2)
            {
                warm.Signal();
            }
        }
    }

    private static string Ask(Socket socket, bool tls)
    {
        using NetworkStream plain = new(socket);
        using SslStream? secure = tls ? new SslStream(plain, false, (_, _, _, _) => true) : null;
        secure?.AuthenticateAsClient("localhost");
        Stream stream = secure ?? (Stream)plain;
        stream.Write(Encoding.ASCII.GetBytes(Request));
        using StreamReader reader = new(stream, Encoding.ASCII);
        return reader.ReadToEnd();
    }
}
