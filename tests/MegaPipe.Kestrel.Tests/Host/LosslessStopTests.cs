// A host that stops while clients open a connection for each request: who was connected gets an answer. The stock
// transport resets some; tests/lossless/stop counts both.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Host;

[Trait("Transport", "MegaPipe"), Trait("Area", "Accept")]
public sealed class LosslessStopTests
{
    private const int Clients = 6;

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

    private static async Task RunAsync(HostHarness host, EndPoint target, bool tls)
    {
        Crowd crowd = Crowd.Start(target, Clients, tls);
        await crowd.WarmAsync();
        await host.StopAsync();
        await crowd.AssertAllRefusedAsync();
    }
}
