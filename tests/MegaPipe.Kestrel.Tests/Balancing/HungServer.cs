// A child process with few carriers, as in BoundedServer, whose handlers block until a channel has none.
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Balancing;

internal static class HungServer
{
    public const string Command = "hung-server";

    private const int Channels = 2;
    private const int Clients = 40;

    /// <summary>What the ring of the hung channel has accepted waits in it until it is back.</summary>
    private const int Caught = 4;

    private const int ChannelHung = 109;
    private const int ChannelBack = 110;

    public static async Task<int> RunAsync(string[] arguments)
    {
        bool steeringRefused = bool.Parse(arguments[0]);
        using ManualResetEventSlim release = new();
        int blocked = 0;
        // Not disposed: what a process opens at first use would count as left behind.
        HostHarness host = await HostHarness.StartAsync(
            TransportKind.MegaPipeInline,
            context =>
            {
                if (context.Request.Path == "/block")
                {
                    Interlocked.Increment(ref blocked);
                    release.Wait(2 * InTimeExtensions.Limit);
                }

                return context.Answer("x");
            },
            setup => setup.Transport.MegaPipe = options =>
            {
                options.Channels = Channels;
                options.MaxCarriers = 2 * Channels;
                options.Steering = MegaPipeSteering.Balanced;
                options.SteeringRefused = steeringRefused;
            });
        Console.WriteLine($"{ChildProcess.Ready}{host.BaseAddress.Port}");
        await host.AssertServesAsync();
        List<Task> all = [];
        while (!Any(host, "groups", 0))
        {
            all.Add(host.AssertServesAsync("/block"));
            await Eventually.True(() => Volatile.Read(ref blocked) == all.Count &&
                (Sum(host, "hand_overs") == all.Count || Any(host, "groups", 0)));
        }

        string answer = $"{Sum(host, "hand_overs")} hand-overs, then hung without groups; ";
        int served = 0;
        for (int i = 0; i < Clients; i++)
        {
            all.Add(ServeAsync());
        }

        int expected = steeringRefused ? Clients - Caught : Clients;
        await Eventually.True(() => Volatile.Read(ref served) >= expected, () => $"{served} of {Clients} were served");
        Assert.Equal(1, host.Logs.Count(ChannelHung));
        answer += "clients served; ";
        release.Set();
        await Task.WhenAll(all).InTime();
        await Eventually.True(() => !Any(host, "groups", 0));
        Assert.Equal(1, host.Logs.Count(ChannelBack));
        await host.StopAsync();
        Console.WriteLine($"{answer}back with all groups");
        return 0;

        async Task ServeAsync()
        {
            await host.AssertServesAsync();
            Interlocked.Increment(ref served);
        }
    }

    private static long Sum(HostHarness host, string counter) =>
        host.Status!.GetChannels().Sum(channel => channel.Counters[counter]);

    private static bool Any(HostHarness host, string counter, long value) =>
        host.Status!.GetChannels().Any(channel => channel.Counters[counter] == value);
}
