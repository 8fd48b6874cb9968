// The counters of a channel: one row each, with the name that people read and the instrument of the meter.
namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>Their order is that of the rows in <see cref="CounterTable"/>.</summary>
internal enum ChannelCounter
{
    Connections,
    Accepted,
    AcceptQueue,
    StealsIn,
    StealsOut,
    Groups,
    Migrations,
    MovesIn,
    MovesOut,
    Transfers,
    Connected,
    AnswersHere,
    AnswersElsewhere,
    AcceptErrors,
    Resets,
    Pauses,
    Inline,
    Offloaded,
    HandOvers,
    StalledMicroseconds,
    Turns,
    TurnMicroseconds,
    DelayMicroseconds,
    LongTurns,
    SystemCalls,
    Requests,
    Events,
    Dispatches,
    Waits,
    Wakes,
    BuffersStarved,
    Rearms,
    EndsFound,
    ShortWrites,
    CqOverflows,
    StaleEvents,
    ZeroCopies,
    ZeroCopiesCopied,
    HeldBytes,
    LeasesOut,
    HandlesLive,
    OperationsInFlight,
}

/// <summary>What the meter makes of a counter.</summary>
internal enum MeterKind
{
    /// <summary>Not in the meter, or there for each endpoint (<see cref="EndpointMeter"/>).</summary>
    None,
    Counter,
    UpDown,
}

/// <summary>A row.</summary>
/// <param name="Id">Its place.</param>
/// <param name="Name">In reports; docs/GLOSSARY.md explains each.</param>
/// <param name="Kind">Kind of the instrument.</param>
/// <param name="Instrument">Its name in the meter.</param>
/// <param name="Unit">Its unit, in UCUM.</param>
/// <param name="Description">Its description.</param>
internal readonly record struct CounterRow(
    ChannelCounter Id, string Name, MeterKind Kind = MeterKind.None, string Instrument = "", string Unit = "",
    string Description = "");

/// <summary>Whoever adds a counter adds a value above, a row here, and what fills it (ChannelReport).</summary>
internal static class CounterTable
{
    /// <summary>The first in the meter: listeners may take only so many instruments (crank takes ten).</summary>
    public static readonly ChannelCounter[] MostAsked =
        [ChannelCounter.SystemCalls, ChannelCounter.Requests, ChannelCounter.Events];

    public static readonly CounterRow[] Rows =
    [
        new(ChannelCounter.Connections, "connections"),
        new(ChannelCounter.Accepted, "accepted"),
        new(ChannelCounter.AcceptQueue, "accept_queue", MeterKind.UpDown, "megapipe.accept.queue", "{connection}",
            "Connections that wait to be accepted"),
        new(ChannelCounter.StealsIn, "steals_in", MeterKind.Counter, "megapipe.steal.in", "{connection}",
            "Connections taken over from busy channels"),
        new(ChannelCounter.StealsOut, "steals_out", MeterKind.Counter, "megapipe.steal.out", "{connection}",
            "Connections given to other channels"),
        new(ChannelCounter.Groups, "groups", MeterKind.UpDown, "megapipe.group.count", "{group}", "Flow groups owned"),
        new(ChannelCounter.Migrations, "migrations", MeterKind.Counter, "megapipe.group.migrated", "{group}",
            "Flow groups taken over"),
        new(ChannelCounter.MovesIn, "moves_in", MeterKind.Counter, "megapipe.move.in", "{connection}",
            "Idle connections taken over from other channels"),
        new(ChannelCounter.MovesOut, "moves_out", MeterKind.Counter, "megapipe.move.out", "{connection}",
            "Idle connections moved to other channels"),
        new(ChannelCounter.Transfers, "transfers", MeterKind.Counter, "megapipe.transfers", "{connection}",
            "Connections passed to another ring"),
        new(ChannelCounter.Connected, "connected", MeterKind.Counter, "megapipe.connection.connected", "{connection}",
            "Outgoing connections made"),
        new(ChannelCounter.AnswersHere, "answers_here"),
        new(ChannelCounter.AnswersElsewhere, "answers_elsewhere"),
        new(ChannelCounter.AcceptErrors, "accept_errors"),
        new(ChannelCounter.Resets, "resets"),
        new(ChannelCounter.Pauses, "pauses", MeterKind.Counter, "megapipe.read.paused", "{pause}",
            "Reads paused by back-pressure"),
        new(ChannelCounter.Inline, "inline", MeterKind.Counter, "megapipe.continuation.inline", "{continuation}",
            "Continuations run on a carrier"),
        new(ChannelCounter.Offloaded, "offloaded", MeterKind.Counter, "megapipe.continuation.offloaded",
            "{continuation}", "Continuations offloaded to the thread pool"),
        new(ChannelCounter.HandOvers, "hand_overs", MeterKind.Counter, "megapipe.handovers", "{handover}",
            "Times that a channel was taken from a carrier stuck in application code"),
        new(ChannelCounter.StalledMicroseconds, "stalled_us"),
        new(ChannelCounter.Turns, "turns"),
        new(ChannelCounter.TurnMicroseconds, "turn_us"),
        new(ChannelCounter.DelayMicroseconds, "delay_us"),
        new(ChannelCounter.LongTurns, "long_turns"),
        new(ChannelCounter.SystemCalls, "system_calls", MeterKind.Counter, "megapipe.system_calls", "{call}",
            "io_uring_enter calls"),
        new(ChannelCounter.Requests, "requests", MeterKind.Counter, "megapipe.requests", "{request}",
            "Requests given to the kernel"),
        new(ChannelCounter.Events, "events", MeterKind.Counter, "megapipe.events", "{event}",
            "Events taken from the kernel"),
        new(ChannelCounter.Dispatches, "dispatches", MeterKind.Counter, "megapipe.dispatches", "{dispatch}",
            "Dispatches that brought events"),
        new(ChannelCounter.Waits, "waits"),
        new(ChannelCounter.Wakes, "wakes", MeterKind.Counter, "megapipe.wakeups", "{wakeup}",
            "Wake-ups of a sleeping carrier"),
        new(ChannelCounter.BuffersStarved, "buffers_starved", MeterKind.Counter, "megapipe.read.starved", "{read}",
            "Reads that found no free buffer"),
        new(ChannelCounter.Rearms, "rearms"),
        new(ChannelCounter.EndsFound, "ends_found"),
        new(ChannelCounter.ShortWrites, "short_writes"),
        new(ChannelCounter.CqOverflows, "cq_overflows"),
        new(ChannelCounter.StaleEvents, "stale_events"),
        new(ChannelCounter.ZeroCopies, "zero_copies", MeterKind.Counter, "megapipe.write.zero_copy", "{write}",
            "Writes that the kernel was asked to send without copying"),
        new(ChannelCounter.ZeroCopiesCopied, "zero_copies_copied", MeterKind.Counter,
            "megapipe.write.zero_copy.copied", "{write}", "Those that were copied all the same"),
        new(ChannelCounter.HeldBytes, "held_bytes", MeterKind.UpDown, "megapipe.write.held", "By",
            "Written bytes that the kernel still sends from"),
        new(ChannelCounter.LeasesOut, "leases_out", MeterKind.UpDown, "megapipe.lease.count", "{buffer}",
            "Receive buffers that readers hold"),
        new(ChannelCounter.HandlesLive, "handles_live"),
        new(ChannelCounter.OperationsInFlight, "operations_in_flight"),
    ];
}

/// <summary>A channel, as the meter and the reports read it. Any thread.</summary>
internal interface IMeteredChannel
{
    int Index { get; }

    long Read(ChannelCounter counter);
}
