// A child process whose thread pool gets stuck for good while an answer waits to be sent.
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Scheduling;

internal static class StuckPoolServer
{
    public const string Command = "stuck-pool-server";

    /// <summary>Far more than the runtime adds threads, one or two a second, while a test waits.</summary>
    private const int Blockers = 500;

    public static Task<ChildProcess> StartAsync() => ChildProcess.StartAsync(Command);

    public static async Task<int> RunAsync()
    {
        using ManualResetEventSlim released = new();
        HostHarness host = await SchedulingHost.StartAsync(
            async context =>
            {
                if (context.Request.Path == "/stick")
                {
                    await Task.Yield();
                    for (int i = 0; i < Blockers; i++)
                    {
                        ThreadPool.UnsafeQueueUserWorkItem(_ => released.Wait(), null);
                    }

                    Assert.True(Thread.CurrentThread.IsThreadPoolThread);
                    await context.Answer("sent");
                    released.Wait();
                    return;
                }

                await context.Answer("plain");
            },
            options =>
            {
                options.Channels = 1; // no other connection makes the channel look at what it is asked
                options.MaxPoolThreads = 0; // nobody makes the pool grow
            });
        Console.WriteLine($"{ChildProcess.Ready}{host.BaseAddress.Port}");
        await Console.In.ReadLineAsync();
        released.Set();
        await host.StopAsync();
        return 0;
    }
}
