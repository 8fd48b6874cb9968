// A child process with few carriers: the pool of carriers is the process's, so only a process of its own has a bound
// that earlier tests have not passed already.
using System.Globalization;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Scheduling;

internal static class BoundedServer
{
    public const string Command = "bounded-server";

    /// <summary>Makes every handler at /block return; those that come later do not block.</summary>
    public const string Release = "release";

    private const int CarriersExhausted = 104;

    public static Task<ChildProcess> StartAsync(int maxCarriers, int channels) => ChildProcess.StartAsync(
        Command, maxCarriers.ToString(CultureInfo.InvariantCulture), channels.ToString(CultureInfo.InvariantCulture));

    public static async Task<int> RunAsync(string[] arguments)
    {
        using ManualResetEventSlim released = new();
        using HttpClient self = new() { Timeout = TimeSpan.FromSeconds(4) };
        int blocked = 0;
        HostHarness? host = null;
        host = await HostHarness.StartAsync(
            TransportKind.MegaPipe,
            context =>
            {
                string path = context.Request.Path.Value!;
                switch (path)
                {
                    case "/block":
                        Interlocked.Increment(ref blocked);
                        released.Wait(InTimeExtensions.Limit);
                        return context.Answer("[blocked]");
                    case "/sleep":
                        Thread.Sleep(30);
                        return context.Answer("[slept]");
                    case "/blocked":
                        return context.Answer($"[{Volatile.Read(ref blocked)}]");
                    case "/self":
                        string inner = self.GetStringAsync(new Uri(host!.BaseAddress, "/")).GetAwaiter().GetResult();
                        return context.Answer($"[self {inner}]");
                    case "/warnings":
                        return context.Answer($"[{host!.Logs.Count(CarriersExhausted)}]");
                    default:
                        return context.Answer("[plain]");
                }
            },
            setup =>
            {
                setup.QuietLogs = true;
                setup.Services = services => services.Configure<MegaPipeTransportOptions>(options =>
                {
                    options.MaxCarriers = int.Parse(arguments[0], CultureInfo.InvariantCulture);
                    options.Channels = int.Parse(arguments[1], CultureInfo.InvariantCulture);
                });
            });
        Console.WriteLine($"{ChildProcess.Ready}{host.BaseAddress.Port}");
        while (await Console.In.ReadLineAsync() is { } line)
        {
            if (line == Release)
            {
                // Not before the bound was reached: what is released must have been stuck.
                SpinWait.SpinUntil(() => host.Logs.Count(CarriersExhausted) > 0, TimeSpan.FromSeconds(5));
                released.Set();
            }
        }

        released.Set();
        // A channel without a carrier, which is what the tests look for, would keep the host for ever.
        await Task.WhenAny(host.StopAsync(), Task.Delay(TimeSpan.FromSeconds(5)));
        return 0;
    }
}
