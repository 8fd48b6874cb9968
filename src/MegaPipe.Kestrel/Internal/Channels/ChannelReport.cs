// A channel's counters: the ring's own and the transport's.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Channels;

internal static class ChannelReport
{
    public static IReadOnlyList<MegaPipeChannelStatus> Describe(ChannelSet channels) =>
        [.. channels.Channels.Select(Describe)];

    private static MegaPipeChannelStatus Describe(TransportChannel channel)
    {
        ChannelCounters ring = default;
        channel.Native.ReadCounters(ref ring);
        Dictionary<string, long> counters = new(CounterTable.Rows.Length);
        foreach (CounterRow row in CounterTable.Rows)
        {
            counters.Add(row.Name, Read(channel, in ring, row.Id));
        }

        return new MegaPipeChannelStatus(channel.Index, counters);
    }

    /// <summary>One counter. Any thread.</summary>
    public static long Read(TransportChannel channel, ChannelCounter counter)
    {
        ChannelCounters ring = default;
        channel.Native.ReadCounters(ref ring);
        return Read(channel, in ring, counter);
    }

    private static long Read(TransportChannel channel, in ChannelCounters ring, ChannelCounter counter) =>
        counter switch
        {
            ChannelCounter.Connections => channel.ConnectionCount,
            ChannelCounter.Accepted => channel.AcceptedCount,
            ChannelCounter.AcceptQueue => Volatile.Read(ref channel.QueuedCount),
            ChannelCounter.StealsIn => channel.TakenCount,
            ChannelCounter.StealsOut => channel.GivenCount,
            ChannelCounter.Groups => Volatile.Read(ref channel.GroupCount),
            ChannelCounter.Migrations => channel.MigratedCount,
            ChannelCounter.MovesIn => channel.MovedInCount,
            ChannelCounter.MovesOut => channel.MovedOutCount,
            ChannelCounter.Transfers => (long)ring.Transfers,
            ChannelCounter.Connected => channel.ConnectedCount,
            ChannelCounter.AnswersHere => channel.AnswersHereCount,
            ChannelCounter.AnswersElsewhere => channel.AnswersElsewhereCount,
            ChannelCounter.AcceptErrors => channel.AcceptErrorCount,
            ChannelCounter.Resets => channel.ResetCount,
            ChannelCounter.Pauses => channel.PauseCount,
            ChannelCounter.Inline => channel.InlineCount,
            ChannelCounter.Offloaded => channel.OffloadedCount,
            ChannelCounter.HandOvers => channel.HandOvers,
            ChannelCounter.StalledMicroseconds => Microseconds(channel.StalledTicks),
            ChannelCounter.Turns => channel.TurnCount,
            ChannelCounter.TurnMicroseconds => Microseconds(channel.TurnTicks),
            ChannelCounter.DelayMicroseconds => Microseconds(channel.DelayTicks),
            ChannelCounter.LongTurns => channel.LongTurnCount,
            ChannelCounter.SystemCalls => (long)ring.SystemCalls,
            ChannelCounter.Requests => (long)ring.Requests,
            ChannelCounter.Events => (long)ring.Events,
            ChannelCounter.Dispatches => (long)ring.Dispatches,
            ChannelCounter.Waits => (long)ring.Waits,
            ChannelCounter.Wakes => (long)ring.Wakes,
            ChannelCounter.BuffersStarved => (long)ring.BuffersStarved,
            ChannelCounter.Rearms => (long)ring.Rearms,
            ChannelCounter.EndsFound => (long)ring.EndsFound,
            ChannelCounter.ShortWrites => (long)ring.ShortWrites,
            ChannelCounter.CqOverflows => (long)ring.CqOverflows,
            ChannelCounter.StaleEvents => (long)ring.StaleEvents,
            ChannelCounter.ZeroCopies => channel.Holds.WriteCount,
            ChannelCounter.ZeroCopiesCopied => channel.Holds.CopiedCount,
            ChannelCounter.HeldBytes => channel.Holds.Bytes,
            ChannelCounter.LeasesOut => (long)ring.LeasesOut,
            ChannelCounter.HandlesLive => (long)ring.HandlesLive,
            ChannelCounter.OperationsInFlight => (long)ring.InFlight,
            _ => throw new UnreachableException(),
        };

    private static long Microseconds(long ticks) => (long)(ticks * (1_000_000.0 / Stopwatch.Frequency));
}
