// A child process with few carriers, as in BoundedServer, whose handlers block until a channel has none.
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Balancing;

internal static class HungServer
{
    public const string Command = "hung-server";

    private const int Channels = 2;
    private const int Clients = 40;

    /// <summary>
    /// What the ring of the hung channel has accepted, from its own queue and from one that it drained, or was given
    /// waits in it until it is back.
    /// </summary>
    private const int Caught = (2 * ListenerPartition.Outstanding) + ChannelArrivals.Most;

    private const int ChannelHung = 115;
    private const int ChannelBack = 116;

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
                // A first read that completes before it is awaited goes on where it was made, on a thread of the pool.
                if (context.Request.Path == "/block" && Carried.OfThisThread is not null)
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
        for (int i = 0; i < Channels + 1; i++)
        {
            while (Volatile.Read(ref blocked) == i)
            {
                Task one = host.AssertServesAsync("/block");
                all.Add(one);
                await Eventually.True(
                    () => Volatile.Read(ref blocked) > i || one.IsCompleted, () => Describe(host));
            }

            if (i < Channels)
            {
                // Another carrier has the channel, and it is known to go on.
                await Eventually.True(
                    () => CarriersInUse == Channels + i + 1 && !Any(host, "groups", 0),
                    () => Describe(host));
            }
        }

        // One carrier is left, for two channels.
        await Eventually.True(() => Any(host, "groups", 0), () => Describe(host));
        string answer = "hung without groups; ";
        int served = 0;
        for (int i = 0; i < Clients; i++)
        {
            all.Add(ServeAsync());
        }

        await Eventually.True(
            () => Volatile.Read(ref served) >= Clients - Caught,
            () => $"{served} of {Clients} were served; {Describe(host)}");
        Assert.InRange(host.Logs.Count(ChannelHung), 1, int.MaxValue);
        answer += "clients served; ";
        release.Set();
        await Task.WhenAll(all).InTime();
        await Eventually.True(() => !Any(host, "groups", 0));
        await Eventually.True(() => host.Logs.Count(ChannelHung) == host.Logs.Count(ChannelBack));
        await host.StopAsync();
        Console.WriteLine($"{answer}back with all groups");
        return 0;

        async Task ServeAsync()
        {
            await host.AssertServesAsync();
            Interlocked.Increment(ref served);
        }
    }

    /// <summary>Those that carry a channel, and those that are stuck and have lost theirs.</summary>
    private static int CarriersInUse => CarrierPool.Instance.LiveCount - CarrierPool.Instance.SpareCount;

    private static string Describe(HostHarness host) =>
        $"hung {host.Logs.Count(ChannelHung)}, back {host.Logs.Count(ChannelBack)}, carriers "
        + $"{CarrierPool.Instance.LiveCount}, refused {CarrierPool.Instance.ThreadsRefused}, "
        + $"spare {CarrierPool.Instance.SpareCount}; "
        + string.Join("; ", host.Status!.GetChannels().Select(channel => string.Join(
            ", ", channel.Counters.Select(counter => $"{counter.Key} {counter.Value}"))));

    private static bool Any(HostHarness host, string counter, long value) =>
        host.Status!.GetChannels().Any(channel => channel.Counters[counter] == value);
}
