// Kestrel's own limits on connections: who comes too many is closed, and gives its place back.
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class ConnectionLimitContract(TransportKind kind, bool deferAccept = false)
{
    private const int Limit = 2;
    private const string Get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    private const string Upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";

    [Fact]
    public async Task MaxConcurrentConnections_OneTooMany_IsClosedAndPlacesComeBack()
    {
        await using HostHarness host = await StartAsync(
            context => context.Response.WriteAsync("x"),
            setup => setup.Kestrel = kestrel => kestrel.Limits.MaxConcurrentConnections = Limit);
        Socket[] clients = [await AnsweredAsync(host), await AnsweredAsync(host)];
        for (int i = 0; i < 3; i++)
        {
            Assert.Null(await TryAskAsync(host, Get));
        }

        clients[0].Dispose();
        await AnsweredAsync(host);
    }

    [Fact]
    public async Task MaxConcurrentUpgradedConnections_OneTooMany_IsRefusedAndPlacesComeBack()
    {
        await using HostHarness host = await StartAsync(
            async context =>
            {
                IHttpUpgradeFeature upgrade = context.Features.GetRequiredFeature<IHttpUpgradeFeature>();
                Stream stream;
                try
                {
                    stream = await upgrade.UpgradeAsync();
                }
                catch (InvalidOperationException)
                {
                    context.Response.StatusCode = StatusCodes.Status503ServiceUnavailable;
                    return;
                }

                await using (stream)
                {
                    byte[] buffer = new byte[10];
                    while (await stream.ReadAsync(buffer) > 0)
                    {
                        // until the client ends it
                    }
                }
            },
            setup => setup.Kestrel = kestrel => kestrel.Limits.MaxConcurrentUpgradedConnections = 1);
        (Socket first, string answer) = (await TryAskAsync(host, Upgrade))!.Value;
        Assert.StartsWith("HTTP/1.1 101", answer, StringComparison.Ordinal);
        (Socket second, answer) = (await TryAskAsync(host, Upgrade))!.Value;
        Assert.StartsWith("HTTP/1.1 503", answer, StringComparison.Ordinal);
        second.Dispose();
        first.Dispose();
        await UntilAsync(host, Upgrade, "HTTP/1.1 101");
    }

    private Task<HostHarness> StartAsync(RequestDelegate handler, Action<HostSetup> configure) =>
        HostHarness.StartAsync(kind, handler, setup =>
        {
            configure(setup);
            setup.Transport.MegaPipe = options => options.DeferAccept =
                deferAccept ? TimeSpan.FromSeconds(5) : null;
        });

    private static Task<Socket> AnsweredAsync(HostHarness host) => UntilAsync(host, Get, "HTTP/1.1 200");

    /// <summary>A place is free when its connection has ended, which its client does not see: it asks again.</summary>
    private static async Task<Socket> UntilAsync(HostHarness host, string request, string begin)
    {
        long deadline = Environment.TickCount64 + (long)InTimeExtensions.Limit.TotalMilliseconds;
        while (Environment.TickCount64 < deadline)
        {
            if (await TryAskAsync(host, request) is { } one)
            {
                if (one.Answer.StartsWith(begin, StringComparison.Ordinal))
                {
                    return one.Client;
                }

                one.Client.Dispose();
            }

            await Task.Delay(5);
        }

        throw new TimeoutException($"Never answered {begin}.");
    }

    /// <summary>The beginning of an answer; null: the connection was closed without one.</summary>
    private static async Task<(Socket Client, string Answer)?> TryAskAsync(HostHarness host, string request)
    {
        Socket client = await host.ConnectAsync();
        try
        {
            await client.SendAllAsync(request);
            byte[] buffer = new byte[1_000];
            int bytes = await client.ReceiveAsync(buffer).InTime();
            return bytes == 0 ? null : (client, Encoding.ASCII.GetString(buffer, 0, bytes));
        }
        catch (SocketException)
        {
            return null;
        }
    }
}

[Trait("Transport", "Sockets"), Trait("Area", "ConnectionLimit")]
public sealed class ConnectionLimitOnSockets() : ConnectionLimitContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "ConnectionLimit")]
public sealed class ConnectionLimitOnMegaPipe() : ConnectionLimitContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipe"), Trait("Area", "ConnectionLimit")]
public sealed class ConnectionLimitOnMegaPipeDeferAccept()
    : ConnectionLimitContract(TransportKind.MegaPipe, deferAccept: true);
