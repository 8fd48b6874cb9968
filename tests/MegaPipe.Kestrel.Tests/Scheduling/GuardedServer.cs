// A child process with the thread pool as the runtime makes it, and nothing compiled or warmed by other tests.
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Scheduling;

internal static class GuardedServer
{
    public const string Command = "guarded-server";

    public static readonly TimeSpan Block = TimeSpan.FromSeconds(1);

    public static Task<ChildProcess> StartAsync(TransportKind kind) => ChildProcess.StartAsync(Command, $"{kind}");

    public static async Task<int> RunAsync(string[] arguments)
    {
        HostHarness host = await HostHarness.StartAsync(
            Enum.Parse<TransportKind>(arguments[0]),
            context =>
            {
                switch (context.Request.Path.Value)
                {
                    case "/block":
                        Thread.Sleep(Block);
                        break;
                    case "/spin":
                        long end = Environment.TickCount64 + 2;
                        while (Environment.TickCount64 < end)
                        {
                        }

                        break;
                }

                return context.Answer("done");
            },
            setup => setup.QuietLogs = true);
        Console.WriteLine($"{ChildProcess.Ready}{host.BaseAddress.Port}");
        await Console.In.ReadLineAsync();
        await host.StopAsync();
        return 0;
    }
}
