// The server of a measurement, in a process of its own: Kestrel on MegaPipe, with handlers that cost what is asked for.
using System.Diagnostics;
using System.Globalization;
using MegaPipe.Kestrel;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Balance;

internal static class Server
{
    private const int HeavyFactor = 20;
    private const int SpinUs = 50;

    /// <summary>Serves until its standard input ends.</summary>
    /// <param name="args">serve STEERING SCHEDULING [OPTION=VALUE ...], as the section MegaPipe has them.</param>
    public static async Task<int> RunAsync(string[] args)
    {
        if (args.Length < 3)
        {
            throw new FormatException();
        }

        MegaPipeSteering steering = Enum.Parse<MegaPipeSteering>(args[1]);
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        const string section = MegaPipeTransportOptions.SectionName;
        builder.Configuration.AddInMemoryCollection(args.Skip(3).Select(pair => pair.Split('=', 2))
            .Select(pair => KeyValuePair.Create($"{section}:{pair[0]}", (string?)pair[1])));
        builder.WebHost.UseKestrelCore().ConfigureKestrel(kestrel =>
        {
            kestrel.AddServerHeader = false;
            kestrel.ListenLocalhostV4();
        });
        builder.WebHost.UseMegaPipe(options =>
        {
            options.Steering = steering;
            options.Scheduling = Enum.Parse<MegaPipeScheduling>(args[2]);
            options.Fallback = MegaPipeFallback.Fail;
            options.SteeredByAddress = true;
        });
        await using WebApplication app = builder.Build();
        MegaPipeStatus status = app.Services.GetRequiredService<MegaPipeStatus>();
        app.Run(context => HandleAsync(context, status, steering));
        await app.StartAsync();
        Console.WriteLine(new Uri(app.Urls.First()).Port);
        while (Console.ReadLine() is not null)
        {
        }

        await app.StopAsync();
        return 0;
    }

    private static void ListenLocalhostV4(this Microsoft.AspNetCore.Server.Kestrel.Core.KestrelServerOptions kestrel) =>
        kestrel.Listen(System.Net.IPAddress.Loopback, 0);

    /// <summary>
    /// /spin/US, /skewed/US and /waiting/MS: heavy where the connection hashes to channel 0, /block/MS, /status.
    /// </summary>
    private static Task HandleAsync(HttpContext context, MegaPipeStatus status, MegaPipeSteering steering)
    {
        string[] path = context.Request.Path.Value!.Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (path is ["status"])
        {
            return context.Response.WriteAsync(string.Join('\n', status.GetChannels().Select(channel =>
                string.Join(' ', channel.Counters.Select(counter => $"{counter.Key}={counter.Value}")))));
        }

        int amount = int.Parse(path[1], CultureInfo.InvariantCulture);
        switch (path[0])
        {
            case "block":
                Thread.Sleep(amount);
                break;
            case "waiting":
                // Mostly waits, as a handler that blocks does: what a channel can do is bound by its carrier, not by
                // the CPUs of the machine.
                int times = Hashes.First(context, steering, status.GetChannels().Count) == 0 ? HeavyFactor : 1;
                Thread.Sleep(times * amount);
                Spin(times * SpinUs);
                break;
            case "skewed":
                Spin(Hashes.First(context, steering, status.GetChannels().Count) == 0 ? amount * HeavyFactor : amount);
                break;
            default:
                Spin(amount);
                break;
        }

        return context.Response.WriteAsync("done");
    }

    private static void Spin(int microseconds)
    {
        long end = Stopwatch.GetTimestamp() + (microseconds * Stopwatch.Frequency / 1_000_000);
        while (Stopwatch.GetTimestamp() < end)
        {
        }
    }
}
