// A child process in which io_uring is denied before anything uses it: what UseMegaPipe() does there.
using System.Buffers;
using System.Globalization;
using System.Text.Json;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Configuration;

/// <summary>What the child answers to /transport.</summary>
internal sealed record DeniedReport(
    string Transport, string? FallbackReason, string ConnectionType, int Channels, string Backlog, string[] Warnings,
    string[] Started);

internal static class DeniedServer
{
    public const string Command = "denied-server";
    public const string Failed = "FAILED ";

    public static Task<ChildProcess> StartAsync(int errno, params string[] arguments) =>
        StartAsync(SeccompFilter.IoUringSetup, errno, arguments);

    public static Task<ChildProcess> StartAsync(int call, int errno, string[] arguments) =>
        ChildProcess.StartAsync([Command, $"{call}", $"{errno}", .. arguments]);

    /// <summary>
    /// The child: system call, errno, then command-line configuration. Ready with its port, or with why not.
    /// </summary>
    public static async Task<int> RunAsync(string[] arguments)
    {
        SeccompFilter.Refuse(
            int.Parse(arguments[0], CultureInfo.InvariantCulture),
            int.Parse(arguments[1], CultureInfo.InvariantCulture));
        using LogCapture logs = new();
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder(arguments[2..]);
        builder.Logging.ClearProviders().AddProvider(logs);
        builder.WebHost.UseMegaPipe();
        builder.WebHost.ConfigureKestrel(options =>
        {
            // Two endpoints: the decision and its warning are the host's, not an endpoint's.
            options.Listen(System.Net.IPAddress.Loopback, 0);
            options.Listen(System.Net.IPAddress.Loopback, 0);
        });
        WebApplication app;
        try
        {
            app = builder.Build();
            app.Run(context => context.Request.Path.Value switch
            {
                "/transport" => context.Response.WriteAsync(Report(context, logs)),
                "/unflushed" => WriteUnflushed(context.Response),
                _ => context.Response.WriteAsync("hello"),
            });
            await app.StartAsync();
        }
        catch (Exception error)
        {
            Console.WriteLine($"{ChildProcess.Ready}{Failed}{error.GetType().Name}: {error.Message}");
            return 0;
        }

        Console.WriteLine($"{ChildProcess.Ready}{new Uri(app.Urls.First()).Port}");
        await Console.In.ReadLineAsync();
        await app.StopAsync();
        await app.DisposeAsync();
        return 0;
    }

    /// <summary>Into the response's own memory, before anything was flushed: what a fast handler does.</summary>
    private static Task WriteUnflushed(HttpResponse response)
    {
        response.BodyWriter.Write("hello"u8);
        return Task.CompletedTask;
    }

    private static string Report(HttpContext context, LogCapture logs)
    {
        MegaPipeStatus status = context.RequestServices.GetRequiredService<MegaPipeStatus>();
        return JsonSerializer.Serialize(new DeniedReport(
            status.Transport, status.FallbackReason, context.Features.Get<IConnectionIdFeature>()!.GetType().FullName!,
            status.GetChannels().Count, status.Options.GetValueOrDefault("Backlog", ""),
            [.. logs.Entries.Where(entry => (entry.IsTransport || entry.IsStart) && entry.Level >= LogLevel.Warning)
                .Select(entry => $"{entry.Id.Id} {entry.Level} {entry.Message}")],
            [.. logs.Start(101).Select(entry => entry.Message)]));
    }
}
