// A child process of an ordinary user with little RLIMIT_MEMLOCK: what a bind says there.
using System.Net;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Configuration;

internal static class LockedMemoryServer
{
    public const string Command = "locked-memory-server";

    public static Task<ChildProcess> StartAsync(int kibibytes, string fallback) =>
        ChildProcess.StartAsync(Command, $"{kibibytes}", fallback);

    public static async Task<int> RunAsync(ulong kibibytes, string fallback)
    {
        // Everything is loaded before the user changes, who may not be allowed to read it.
        string before = await BindAsync(fallback);
        if (before != "megapipe: ")
        {
            throw new InvalidOperationException($"MegaPipe cannot be used here at all: {before}");
        }

        ThreadLimit.BeOrdinary();
        ResourceLimit.SetSoft(ResourceLimit.LockedMemory, kibibytes * 1024);
        Console.WriteLine($"{ChildProcess.Ready}{await BindAsync(fallback)}");
        await Console.In.ReadLineAsync();
        return 0;
    }

    private static async Task<string> BindAsync(string fallback)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore();
        builder.WebHost.UseMegaPipe(options => options.Fallback = Enum.Parse<MegaPipeFallback>(fallback));
        await using WebApplication app = builder.Build();
        try
        {
            await using IConnectionListener listener = await app.Services.GetServices<IConnectionListenerFactory>()
                .Last().BindAsync(new IPEndPoint(IPAddress.Loopback, 0));
            MegaPipeStatus status = app.Services.GetRequiredService<MegaPipeStatus>();
            return $"{status.Transport}: {status.FallbackReason}";
        }
        catch (PlatformNotSupportedException error)
        {
            return $"{error.GetType().Name}: {error.Message}";
        }
    }
}
