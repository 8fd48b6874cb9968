// /, /megapipe and /transport: what serves this very connection, for people and for programs.
using System.Globalization;
using System.Net;
using System.Text;
using MegaPipe.Kestrel;

namespace WebApp;

internal static class StatusRoutes
{
    private static readonly (string Path, string Says)[] s_links =
    [
        ("/plaintext", "Hello, World!"),
        ("/json", "the same as JSON"),
        ("/bytes/1048576", "1 MiB"),
        ("/delay/100", "waits 100 ms"),
        ("/block/100", "blocks its thread for 100 ms"),
        ("/spin/100", "burns CPU for 100 ms"),
        ("/nested", "blocks its thread on a request to this server"),
        ("/transport", "transport, options, kernel features and counters as JSON"),
        ("/megapipe", "what the channels do, and who blocks them; below"),
    ];

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapGet("/", (RequestDelegate)Home);
        routes.MapGet("/transport", (RequestDelegate)Report);
        if (routes.ServiceProvider.GetService<MegaPipeStatus>() is not null)
        {
            routes.MapMegaPipe("/megapipe");
        }
    }

    private static Task Report(HttpContext context)
    {
        TransportReport report = context.RequestServices.GetRequiredService<TransportReporter>().Create(context);
        context.Response.Headers.CacheControl = "no-store";
        return context.Response.WriteAsJsonAsync(report, ReportJsonContext.Default.TransportReport);
    }

    private static Task Home(HttpContext context)
    {
        TransportReport report = context.RequestServices.GetRequiredService<TransportReporter>().Create(context);
        StringBuilder html = new();
        html.Append("""
            <!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
            <title>MegaPipe for Kestrel</title>
            <style>
            :root { color-scheme: light dark }
            body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem }
            h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
            table { border-collapse: collapse } code { font-size: .95em }
            td, th { padding: .1rem 1rem .1rem 0; vertical-align: top; text-align: left; font-weight: normal }
            .warn { border-left: 4px solid #c60; padding-left: .8rem }
            iframe { display: block; width: min(84rem, 100vw - 2rem); height: 60rem; border: 0; margin: 2rem 0 0 50%;
              transform: translateX(-50%) }
            @media (max-width: 30rem) { body { margin-top: 1rem } }
            </style>
            <h1>MegaPipe for Kestrel</h1>
            """);
        html.Append(CultureInfo.InvariantCulture, $"<p>This page was served by <b>{Encode(report.Transport)}</b>");
        html.Append(CultureInfo.InvariantCulture, $" over {Encode(context.Request.Protocol)}");
        html.Append(CultureInfo.InvariantCulture, $" to {Encode(Peer(context))}.</p>");
        if (report.FallbackReason is string reason)
        {
            html.Append(CultureInfo.InvariantCulture, $"<p class=\"warn\">Not MegaPipe: {Encode(reason)}</p>");
        }

        html.Append("<table>");
        foreach ((string path, string says) in s_links)
        {
            html.Append(
                CultureInfo.InvariantCulture, $"<tr><td><a href=\"{path}\"><code>{path}</code></a><td>{Encode(says)}");
        }

        html.Append("<tr><td><code>POST /upload</code><td>counts and hashes the body");
        html.Append("<tr><td><code>POST /echo</code><td>streams the body back");
        html.Append("<tr><td><code>/ws</code><td>WebSocket echo</table>");
        if (context.RequestServices.GetService<MegaPipeStatus>() is not null)
        {
            html.Append("<iframe src=\"/megapipe\" title=\"What the channels do\"></iframe>");
        }

        context.Response.ContentType = "text/html; charset=utf-8";
        context.Response.Headers.CacheControl = "no-store";
        return context.Response.WriteAsync(html.ToString());
    }

    private static string Peer(HttpContext context) => context.Connection.RemoteIpAddress is IPAddress address
        ? new IPEndPoint(address, context.Connection.RemotePort).ToString()
        : "a local socket";

    private static string Encode(string text) => WebUtility.HtmlEncode(text);
}
