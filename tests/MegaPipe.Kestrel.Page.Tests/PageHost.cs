// An app on MegaPipe with the page, two endpoints that block and one that does not.
using System.Net;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Page.Tests;

internal sealed class PageHost : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly CancellationTokenSource _stop = new();
    private readonly List<Task> _load = [];

    private PageHost(WebApplication app)
    {
        _app = app;
        Address = new Uri(
            app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());
        Client = new HttpClient { BaseAddress = Address };
    }

    public Uri Address { get; }

    public Uri Page => new(Address, "/megapipe");

    public HttpClient Client { get; }

    public IServiceProvider Services => _app.Services;

    public static async Task<PageHost> StartAsync(
        Action<IEndpointConventionBuilder>? page = null, Action<MegaPipeTransportOptions>? transport = null,
        Action<IServiceCollection>? services = null, Action<WebApplication>? before = null)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.Logging.SetMinimumLevel(LogLevel.None);
        builder.WebHost.UseKestrelCore();
        builder.WebHost.UseMegaPipe(options =>
        {
            options.Channels = 2;
            transport?.Invoke(options);
        });
        builder.Services.AddRoutingCore();
        services?.Invoke(builder.Services);
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(20));
        builder.WebHost.ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        WebApplication app = builder.Build();
        before?.Invoke(app);
        IEndpointConventionBuilder mapped = app.MapMegaPipe();
        page?.Invoke(mapped);
        app.MapGet("/orders/{id}", (RequestDelegate)(context => Block(context, 40)));
        app.MapGet("/stock", (RequestDelegate)(context => Block(context, 15)));
        app.MapGet("/quick", (RequestDelegate)(context => context.Response.WriteAsync("x")));
        await app.StartAsync();
        return new PageHost(app);
    }

    private static Task Block(HttpContext context, int milliseconds)
    {
        Thread.Sleep(milliseconds);
        return context.Response.WriteAsync("late");
    }

    /// <summary>Clients that ask for a path, each on a connection that it opens anew after some requests.</summary>
    public void Load(string path, int clients, int requestsPerConnection)
    {
        for (int i = 0; i < clients; i++)
        {
            _load.Add(Task.Run(async () =>
            {
                while (!_stop.IsCancellationRequested)
                {
                    using HttpClient client = new() { BaseAddress = Address };
                    for (int request = 0; request < requestsPerConnection && !_stop.IsCancellationRequested; request++)
                    {
                        await client.GetStringAsync(path);
                    }
                }
            }));
        }
    }

    public Task StopAsync() => _app.StopAsync();

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_load);
        Client.Dispose();
        await _app.DisposeAsync();
        _stop.Dispose();
    }
}
