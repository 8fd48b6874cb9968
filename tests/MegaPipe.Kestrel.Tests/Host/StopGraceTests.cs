// What a stop waits for: who has just connected may ask, and nobody else is a reason to wait.
using System.Diagnostics;
using System.Net;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace MegaPipe.Kestrel.Tests.Host;

[Trait("Transport", "MegaPipe"), Trait("Area", "Stop")]
public sealed class StopGraceTests
{
    private const int Tries = 5;

    /// <summary>The grace is a second. The fastest of several stops, since the machine may be busy.</summary>
    private static readonly TimeSpan s_wellBelowTheGrace = TimeSpan.FromMilliseconds(600);

    [Theory]
    [InlineData(false, "1.1")]
    [InlineData(false, "2.0")]
    [InlineData(true, "1.1")]
    [InlineData(true, "2.0")]
    public async Task Stop_YoungConnectionWasAnsweredAndIsIdle_NothingIsWaitedFor(bool tls, string version)
    {
        Version http = new(version);
        await AssertStopsSoonAsync(
            async host =>
            {
                HttpClient client = host.CreateClient(http, tls);
                Assert.Equal("x", await client.GetStringAsync("/").InTime());
            },
            listen =>
            {
                listen.Protocols = http == HttpVersion.Version11 ? HttpProtocols.Http1 : HttpProtocols.Http2;
                _ = tls ? listen.UseHttps(TestCertificate.Instance) : listen;
            });
    }

    /// <summary>As HttpClient keeps connections that it has made for requests which another one then served.</summary>
    [Fact]
    public async Task Stop_YoungConnectionIsSilent_IsWaitedForNoLongerThanALostPacketTakes() =>
        await AssertStopsSoonAsync(
            async host =>
            {
                await host.ConnectAsync();
                await host.AssertServesAsync(); // by then it is accepted, with one channel
            },
            _ => { });

    private static async Task AssertStopsSoonAsync(Func<HostHarness, Task> talk, Action<ListenOptions> configure)
    {
        TimeSpan best = TimeSpan.MaxValue;
        for (int i = 0; i < Tries && best > s_wellBelowTheGrace; i++)
        {
            await using HostHarness host = await HostHarness.StartAsync(
                TransportKind.MegaPipe, context => context.Response.WriteAsync("x"), setup =>
                {
                    setup.Transport.MegaPipe = options => options.Channels = 1;
                    setup.Listen = configure;
                });
            await talk(host);
            long start = Stopwatch.GetTimestamp();
            await host.StopAsync();
            TimeSpan took = Stopwatch.GetElapsedTime(start);
            best = took < best ? took : best;
        }

        Assert.InRange(best, TimeSpan.Zero, s_wellBelowTheGrace);
    }
}
