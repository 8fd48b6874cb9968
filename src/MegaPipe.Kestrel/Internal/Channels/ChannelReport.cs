// A channel's counters by name: the ring's own and the transport's.
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Channels;

internal static class ChannelReport
{
    public static Func<IReadOnlyList<MegaPipeChannelStatus>> For(ChannelSet channels) =>
        () => [.. channels.Channels.Select(Describe)];

    private static MegaPipeChannelStatus Describe(TransportChannel channel)
    {
        ChannelCounters ring = default;
        channel.Native.ReadCounters(ref ring);
        return new MegaPipeChannelStatus(channel.Index, new Dictionary<string, long>
        {
            ["connections"] = channel.ConnectionCount,
            ["accepted"] = channel.AcceptedCount,
            ["accept_queue"] = Volatile.Read(ref channel.QueuedCount),
            ["steals_in"] = channel.TakenCount,
            ["steals_out"] = channel.GivenCount,
            ["groups"] = Volatile.Read(ref channel.GroupCount),
            ["migrations"] = channel.MigratedCount,
            ["transfers"] = (long)ring.Transfers,
            ["connected"] = channel.ConnectedCount,
            ["resets"] = channel.ResetCount,
            ["pauses"] = channel.PauseCount,
            ["inline"] = channel.InlineCount,
            ["offloaded"] = channel.OffloadedCount,
            ["hand_overs"] = channel.HandOvers,
            ["system_calls"] = (long)ring.SystemCalls,
            ["requests"] = (long)ring.Requests,
            ["events"] = (long)ring.Events,
            ["dispatches"] = (long)ring.Dispatches,
            ["waits"] = (long)ring.Waits,
            ["wakes"] = (long)ring.Wakes,
            ["buffers_starved"] = (long)ring.BuffersStarved,
            ["rearms"] = (long)ring.Rearms,
            ["ends_found"] = (long)ring.EndsFound,
            ["short_writes"] = (long)ring.ShortWrites,
            ["cq_overflows"] = (long)ring.CqOverflows,
            ["stale_events"] = (long)ring.StaleEvents,
            ["leases_out"] = (long)ring.LeasesOut,
            ["handles_live"] = (long)ring.HandlesLive,
            ["operations_in_flight"] = (long)ring.InFlight,
        });
    }
}
