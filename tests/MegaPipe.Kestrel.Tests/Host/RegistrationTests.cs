// Switching MegaPipe on: whatever the order of registrations, and what the status says of it.
using System.Net;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Host;

[Trait("Transport", "MegaPipe"), Trait("Area", "Registration")]
public sealed class RegistrationTests
{
    [Theory]
    [InlineData("UseKestrelCore UseMegaPipe")]
    [InlineData("UseMegaPipe UseKestrelCore")]
    [InlineData("UseSockets UseMegaPipe UseKestrelCore")]
    [InlineData("UseKestrelCore UseSockets UseMegaPipe")]
    [InlineData("UseKestrelCore UseMegaPipe UseMegaPipe")]
    public async Task UseMegaPipe_AnyOrderAfterSockets_MegaPipeServes(string order)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        foreach (string step in order.Split(' '))
        {
            _ = step switch
            {
                "UseKestrelCore" => builder.WebHost.UseKestrelCore(),
                "UseSockets" => builder.WebHost.UseSockets(),
                _ => builder.WebHost.UseMegaPipe(options => options.Fallback = MegaPipeFallback.Fail),
            };
        }

        builder.WebHost.ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        await using WebApplication app = builder.Build();
        app.Run(context => context.Response.WriteAsync("hello"));
        MegaPipeStatus status = app.Services.GetRequiredService<MegaPipeStatus>();
        Assert.Equal("none", status.Transport);
        await app.StartAsync().InTime();
        Assert.Equal("megapipe", status.Transport);
        Assert.Null(status.FallbackReason);
        using HttpClient client = new();
        Assert.Equal("hello", await client.GetStringAsync(new Uri(app.Urls.Single())).InTime());
        await app.StopAsync().InTime();
    }

    [Fact]
    public async Task Status_WhileServing_HasTheCountersThatTheLeakChecksRead()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            TransportKind.MegaPipe, context => context.Response.WriteAsync("hello"));
        await host.AssertServesAsync();
        IReadOnlyList<MegaPipeChannelStatus> channels = host.Status!.GetChannels();
        Assert.NotEmpty(channels);
        Assert.All(channels, channel =>
        {
            Assert.Contains("leases_out", channel.Counters.Keys);
            Assert.Contains("operations_in_flight", channel.Counters.Keys);
        });
        Assert.NotEmpty(host.Status.Options);
    }

    [Fact]
    public void AddMegaPipe_OnlyLogging_FactoryIsTheLastRegistered()
    {
        ServiceCollection services = new();
        services.AddLogging();
        services.AddMegaPipe();
        using ServiceProvider provider = services.BuildServiceProvider();
        IConnectionListenerFactory factory = provider.GetServices<IConnectionListenerFactory>().Last();
        Assert.Contains("MegaPipe", factory.GetType().FullName, StringComparison.Ordinal);
    }
}
