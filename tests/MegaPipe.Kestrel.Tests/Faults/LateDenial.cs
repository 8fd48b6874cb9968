// A child process that serves, and is then denied io_uring_enter by a seccomp filter on all its threads.
using MegaPipe.Kestrel.Tests.Configuration;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Faults;

internal static class LateDenial
{
    public const string Command = "late-denial";

    /// <summary>The child: ready with its port right before the filter, whose first turn may be its last.</summary>
    public static async Task<int> RunAsync(TransportKind kind, int errno)
    {
        HostHarness host = await HostHarness.StartAsync(kind, context => context.Response.WriteAsync("x"));
        await host.AssertServesAsync();
        Console.WriteLine($"{ChildProcess.Ready}{host.EndPoint.Port}");
        SeccompFilter.Refuse(SeccompFilter.IoUringEnter, errno);
        await host.AssertServesAsync(); // whoever asked before the filter has been answered without it
        await Console.In.ReadLineAsync();
        await host.StopAsync();
        return 0;
    }
}
