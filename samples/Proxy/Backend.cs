// The service behind the gateway, where the configuration wants one: it stands for another process.

namespace Proxy;

internal static class Backend
{
    private const string AddressKey = "ReverseProxy:Clusters:backend:Destinations:only:Address";

    /// <summary>Serves the destination's address, unless <c>--backend none</c> says that somebody else does.</summary>
    public static async Task<WebApplication?> StartAsync(IConfiguration configuration)
    {
        if (configuration["backend"] == "none")
        {
            return null;
        }

        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls(configuration[AddressKey] ?? throw new InvalidOperationException(
            $"{AddressKey} is missing: appsettings.json has it"));
        WebApplication app = builder.Build();
        app.MapGet("/plaintext", () => "Hello, World!");
        app.MapGet("/bytes/{count:int}", (int count) => Results.Bytes(new byte[count]));
        app.MapPost("/echo", (HttpContext context) => context.Request.Body.CopyToAsync(context.Response.Body));
        await app.StartAsync();
        return app;
    }
}
