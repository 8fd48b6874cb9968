// /call/…: a handler that awaits one HttpClient call, which is what most services do.
using System.Net.Security;

namespace Proxy;

internal static class CallRoute
{
    public const string Client = "backend";

    public static void Map(WebApplication app)
    {
        string backend = app.Configuration["ReverseProxy:Clusters:backend:Destinations:only:Address"]!.TrimEnd('/');
        HttpClient client = app.Services.GetRequiredService<IHttpClientFactory>().CreateClient(Client);
        app.MapGet("/call/{**path}", async (HttpContext context, string path) =>
        {
            byte[] answer = await client.GetByteArrayAsync($"{backend}/{path}", context.RequestAborted);
            context.Response.ContentLength = answer.Length;
            await context.Response.Body.WriteAsync(answer, context.RequestAborted);
        });
    }

    /// <summary>The sample's backend makes a certificate of its own at each start.</summary>
    public static bool AcceptOwnMachine(
        object sender, System.Security.Cryptography.X509Certificates.X509Certificate? certificate,
        System.Security.Cryptography.X509Certificates.X509Chain? chain, SslPolicyErrors errors) =>
        errors == SslPolicyErrors.None || certificate?.Subject == "CN=localhost";
}
