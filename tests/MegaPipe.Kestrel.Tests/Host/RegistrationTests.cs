// Switching MegaPipe on: whatever the order of registrations, and what the status says of it.
using System.Net;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
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
    [InlineData("UseKestrel UseMegaPipe")]
    [InlineData("UseMegaPipe UseKestrel")]
    [InlineData("UseKestrelCore UseMegaPipe UseSockets")]
    [InlineData("UseMegaPipe UseKestrelCore UseSockets")]
    [InlineData("UseMegaPipe UseSockets UseKestrelCore")]
    [InlineData("UseKestrel UseQuic UseMegaPipe")]
    [InlineData("UseKestrel UseMegaPipe UseQuic")]
    [InlineData("UseMegaPipe UseQuic UseKestrel")]
    public async Task UseMegaPipe_AnyOrder_MegaPipeServes(string order)
    {
        WebApplicationBuilder builder = Register(order);
        // Kestrel's pool, with its metrics, wherever the registrations stand.
        Assert.Contains("Kestrel", builder.Services.BuildServiceProvider()
            .GetRequiredService<IMemoryPoolFactory<byte>>().GetType().FullName!, StringComparison.Ordinal);
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

    /// <summary>
    /// An endpoint that another transport has made of a known kind is that transport's, in every order.
    /// </summary>
    [Theory]
    [InlineData("UseKestrelCore UseMegaPipe Other")]
    [InlineData("UseKestrelCore Other UseMegaPipe")]
    [InlineData("Other UseKestrelCore UseMegaPipe")]
    [InlineData("UseMegaPipe Other UseKestrelCore")]
    [InlineData("UseMegaPipe UseKestrelCore Other")]
    [InlineData("Other UseMegaPipe UseKestrelCore")]
    public async Task DerivedEndPoint_FactoryOfItsOwn_BindsIt(string order)
    {
        WebApplicationBuilder builder = Register(order);
        builder.WebHost.ConfigureKestrel(options =>
        {
            options.Listen(new DerivedEndPoint());
            options.Listen(IPAddress.Loopback, 0);
        });
        await using WebApplication app = builder.Build();
        app.Run(context => context.Response.WriteAsync("hello"));
        await app.StartAsync().InTime();
        OtherFactory other = app.Services.GetServices<IConnectionListenerFactory>().OfType<OtherFactory>().Single();
        Assert.IsType<DerivedEndPoint>(Assert.Single(other.Bound));
        Assert.Equal("megapipe", app.Services.GetRequiredService<MegaPipeStatus>().Transport);
        await app.StopAsync().InTime();
    }

    /// <summary>Without one it is what it is without MegaPipe: the stock transport's.</summary>
    [Theory]
    [InlineData("UseKestrelCore UseMegaPipe")]
    [InlineData("UseMegaPipe UseKestrelCore")]
    public async Task DerivedEndPoint_NoFactoryOfItsOwn_StockServesIt(string order)
    {
        WebApplicationBuilder builder = Register(order);
        builder.WebHost.ConfigureKestrel(options => options.Listen(new DerivedEndPoint()));
        await using WebApplication app = builder.Build();
        app.Run(context => context.Response.WriteAsync(
            context.Features.Get<IConnectionIdFeature>()!.GetType().FullName!));
        await app.StartAsync().InTime();
        Assert.Equal("none", app.Services.GetRequiredService<MegaPipeStatus>().Transport);
        using HttpClient client = new();
        Assert.Contains(
            "Sockets", await client.GetStringAsync(new Uri(app.Urls.Single())).InTime(), StringComparison.Ordinal);
        await app.StopAsync().InTime();
    }

    /// <summary>Of two that claim the same endpoints the one that was registered last serves.</summary>
    [Theory]
    [InlineData("UseKestrelCore UseMegaPipe OtherForAll", false)]
    [InlineData("UseMegaPipe UseKestrelCore OtherForAll", false)]
    [InlineData("UseMegaPipe OtherForAll UseKestrelCore", false)]
    [InlineData("UseKestrelCore OtherForAll UseMegaPipe", true)]
    [InlineData("OtherForAll UseKestrelCore UseMegaPipe", true)]
    [InlineData("OtherForAll UseMegaPipe UseKestrelCore", true)]
    public async Task OtherTransport_ForTheSameEndPoints_LastRegisteredServes(string order, bool megaPipe)
    {
        WebApplicationBuilder builder = Register(order);
        builder.WebHost.ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        await using WebApplication app = builder.Build();
        await app.StartAsync().InTime();
        Assert.Equal(
            megaPipe ? "megapipe" : "none", app.Services.GetRequiredService<MegaPipeStatus>().Transport);
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

    private static WebApplicationBuilder Register(string order)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        foreach (string step in order.Split(' '))
        {
            switch (step)
            {
                case "UseKestrel":
                    builder.WebHost.UseKestrel();
                    break;
                case "UseKestrelCore":
                    builder.WebHost.UseKestrelCore();
                    break;
                case "UseSockets":
                    builder.WebHost.UseSockets();
                    break;
                case "UseQuic":
                    builder.WebHost.UseQuic();
                    break;
                case "UseMegaPipe":
                    builder.WebHost.UseMegaPipe(options => options.Fallback = MegaPipeFallback.Fail);
                    break;
                case "Other":
                    builder.Services.AddSingleton<IConnectionListenerFactory>(
                        new OtherFactory(endPoint => endPoint is DerivedEndPoint));
                    break;
                case "OtherForAll":
                    builder.Services.AddSingleton<IConnectionListenerFactory>(new OtherFactory(_ => true));
                    break;
                default:
                    throw new ArgumentException(step, nameof(order));
            }
        }

        return builder;
    }

    private sealed class DerivedEndPoint() : IPEndPoint(IPAddress.Loopback, 0);

    private sealed class OtherFactory(Predicate<EndPoint> canBind)
        : IConnectionListenerFactory, IConnectionListenerFactorySelector
    {
        public List<EndPoint> Bound { get; } = [];

        public bool CanBind(EndPoint endpoint) => canBind(endpoint);

        public ValueTask<IConnectionListener> BindAsync(
            EndPoint endpoint, CancellationToken cancellationToken = default)
        {
            Bound.Add(endpoint);
            return new(new OtherListener(endpoint));
        }
    }
}
