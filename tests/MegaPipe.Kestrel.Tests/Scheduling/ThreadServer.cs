// A child process whose handlers do to their threads what would end or spoil the test's own process.
using System.Globalization;
using System.Net;
using System.Runtime.CompilerServices;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Scheduling;

internal static class ThreadServer
{
    public const string Command = "thread-server";
    public const string BindCommand = "bind-without-threads";
    public const string Release = "release";

    private const int PoolThreads = 32;
    private const int NoThreadWarning = 105;

    public static Task<ChildProcess> StartAsync(TransportKind kind, int channels) =>
        ChildProcess.StartAsync(Command, $"{kind}", channels.ToString(CultureInfo.InvariantCulture));

    /// <summary>A child that answers with the transport that an endpoint got, and why; or with the error.</summary>
    public static Task<ChildProcess> StartWithoutThreadsAsync(MegaPipeFallback fallback) =>
        ChildProcess.StartAsync(BindCommand, $"{fallback}");

    /// <summary>Kestrel itself needs a thread to start, so only the transport is asked.</summary>
    public static async Task<int> BindWithoutThreadsAsync(string fallback)
    {
        StartPoolThreads();
        LeakCheck.Start(); // the runtime's socket engine has its threads
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore();
        builder.WebHost.UseMegaPipe(options => options.Fallback = Enum.Parse<MegaPipeFallback>(fallback));
        await using WebApplication app = builder.Build();
        string answer;
        ThreadLimit.Refuse();
        try
        {
            await using IConnectionListener listener = await app.Services.GetServices<IConnectionListenerFactory>()
                .Last().BindAsync(new IPEndPoint(IPAddress.Loopback, 0));
            MegaPipeStatus status = app.Services.GetRequiredService<MegaPipeStatus>();
            answer = $"{status.Transport}: {status.FallbackReason}";
        }
        catch (Exception error)
        {
            answer = $"{error.GetType().Name}: {error.Message}";
        }

        ThreadLimit.Lift(); // the console needs a thread, too
        Console.WriteLine($"{ChildProcess.Ready}{answer}");
        await Console.In.ReadLineAsync();
        return 0;
    }

    public static async Task<int> RunAsync(string[] arguments)
    {
        using ManualResetEventSlim released = new();
        int blocked = 0;
        HostHarness? host = null;
        StartPoolThreads();
        CarrierPool.Instance.IdleTime = Timeout.InfiniteTimeSpan; // what a test does to a carrier stays
        host = await HostHarness.StartAsync(
            Enum.Parse<TransportKind>(arguments[0]),
            context =>
            {
                string[] path = context.Request.Path.Value!.Split('/');
                int number = path.Length > 2 ? int.Parse(path[2], CultureInfo.InvariantCulture) : 0;
                switch (path[1])
                {
                    case "deep":
                        return context.Answer($"{Descend(number)}");
                    case "sufficient":
                        return context.Answer($"{CountSufficient(0)}");
                    case "spoil":
                        string where = SchedulingHost.OnCarrier ? "carrier" : "other";
                        Thread.CurrentThread.IsBackground = false;
                        return context.Answer(where);
                    case "sleep":
                        Thread.Sleep(number);
                        return context.Answer("slept");
                    case "block":
                        Interlocked.Increment(ref blocked);
                        released.Wait(InTimeExtensions.Limit);
                        return context.Answer("blocked");
                    case "blocked":
                        return context.Answer($"{Volatile.Read(ref blocked)}");
                    case "refuse":
                        ThreadLimit.Refuse();
                        return context.Answer("refused");
                    case "leave":
                        ThreadLimit.Leave(number);
                        // What the guard granted while there was no limit, on a busy machine, would not hold.
                        ThreadPool.SetMinThreads(PoolThreads, PoolThreads);
                        return context.Answer("left");
                    case "lift":
                        ThreadLimit.Lift();
                        return context.Answer("lifted");
                    case "live":
                        return context.Answer($"{CarrierPool.Instance.LiveCount}");
                    case "resident":
                        return context.Answer($"{Environment.WorkingSet}");
                    case "warnings":
                        return context.Answer(string.Join(
                            '\n', host!.Logs.Transport(NoThreadWarning).Select(entry => entry.Message)));
                    default:
                        return context.Answer(SchedulingHost.OnCarrier ? "carrier" : "other");
                }
            },
            setup =>
            {
                setup.QuietLogs = true;
                setup.Services = services => services.Configure<MegaPipeTransportOptions>(
                    options => options.Channels = int.Parse(arguments[1], CultureInfo.InvariantCulture));
            });
        Console.WriteLine($"{ChildProcess.Ready}{host.BaseAddress.Port}");
        while (await Console.In.ReadLineAsync() is { } line)
        {
            if (line == Release)
            {
                released.Set();
            }
        }

        await host.StopAsync();
        return 0;
    }

    private static void StartPoolThreads()
    {
        ThreadPool.SetMinThreads(PoolThreads, PoolThreads);
        using Barrier allRun = new(PoolThreads + 1);
        for (int i = 0; i < PoolThreads; i++)
        {
            ThreadPool.UnsafeQueueUserWorkItem(_ => allRun.SignalAndWait(), null);
        }

        allRun.SignalAndWait(InTimeExtensions.Limit);
    }

    /// <summary>A small frame, as a parser's or a visitor's.</summary>
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int Descend(int levels) => levels == 0 ? 0 : 1 + Descend(levels - 1);

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static int CountSufficient(int level) =>
        RuntimeHelpers.TryEnsureSufficientExecutionStack() ? CountSufficient(level + 1) + 1 : 0;
}
