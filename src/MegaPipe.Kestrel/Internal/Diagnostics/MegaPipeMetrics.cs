// The meter "MegaPipe.Kestrel": counters are read when somebody asks, histograms recorded only while somebody listens,
// so it costs next to nothing when nobody does. The classes that count register what is read.
using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>What the process's carriers count.</summary>
/// <param name="Live">Carrier threads.</param>
/// <param name="Spare">Those without a channel.</param>
/// <param name="HandOvers">Channels taken from a carrier that was stuck.</param>
/// <param name="PoolGrown">Times that a stuck thread pool was made to grow.</param>
internal readonly record struct CarrierCounts(int Live, int Spare, long HandOvers, long PoolGrown);

internal static class MegaPipeMetrics
{
    public const string MeterName = "MegaPipe.Kestrel";

    private static readonly Lock s_sync = new();
    private static readonly Meter s_meter = new(MeterName, "1.0");
    private static readonly Histogram<int> s_eventsPerBatch = s_meter.CreateHistogram<int>(
        "megapipe.batch.events", "{event}", "Events taken from the kernel at a time");

    private static readonly Histogram<int> s_requestsPerBatch = s_meter.CreateHistogram<int>(
        "megapipe.batch.requests", "{request}", "Requests given to the kernel between two takes of events");

    private static readonly Histogram<double> s_carrierTime = s_meter.CreateHistogram<double>(
        "megapipe.continuation.duration", "s", "Time that a continuation kept its carrier");

    private static Func<IReadOnlyList<MegaPipeChannelStatus>>[] s_hosts = [];

    static MegaPipeMetrics()
    {
        UpDown("megapipe.connections.active", "{connection}", "Open connections", "connections");
        Counter("megapipe.connections.accepted", "{connection}", "Connections accepted", "accepted");
        UpDown("megapipe.accept.queue", "{connection}", "Connections that wait to be accepted", "accept_queue");
        Counter("megapipe.steals.in", "{connection}", "Connections taken over from busy channels", "steals_in");
        Counter("megapipe.steals.out", "{connection}", "Connections given to other channels", "steals_out");
        UpDown("megapipe.groups", "{group}", "Flow groups owned", "groups");
        Counter("megapipe.groups.migrated", "{group}", "Flow groups taken over", "migrations");
        Counter("megapipe.transfers", "{connection}", "Connections passed to another ring", "transfers");
        Counter("megapipe.connections.reset", "{connection}", "Connections reset by their peer", "resets");
        Counter("megapipe.system_calls", "{call}", "io_uring_enter calls", "system_calls");
        Counter("megapipe.requests", "{request}", "Requests given to the kernel", "requests");
        Counter("megapipe.events", "{event}", "Events taken from the kernel", "events");
        Counter("megapipe.dispatches", "{dispatch}", "Dispatches that brought events", "dispatches");
        Counter("megapipe.wakeups", "{wakeup}", "Wake-ups of a sleeping carrier", "wakes");
        UpDown("megapipe.leases", "{buffer}", "Receive buffers that readers hold", "leases_out");
        Counter("megapipe.buffers.starved", "{read}", "Reads that found no free buffer", "buffers_starved");
        Counter("megapipe.reads.paused", "{pause}", "Reads paused by back-pressure", "pauses");
        Counter("megapipe.connections.connected", "{connection}", "Outgoing connections made", "connected");
        Counter("megapipe.continuations.inline", "{continuation}", "Continuations run on a carrier", "inline");
        Counter(
            "megapipe.continuations.offloaded", "{continuation}", "Continuations offloaded to the thread pool",
            "offloaded");
        s_meter.CreateObservableCounter(
            "megapipe.handovers", static () => Carriers().HandOvers, "{handover}",
            "Channels taken from a carrier stuck in application code");
        s_meter.CreateObservableCounter(
            "megapipe.pool.grown", static () => Carriers().PoolGrown, "{time}",
            "Times that a stuck thread pool was made to grow");
        s_meter.CreateObservableUpDownCounter(
            "megapipe.carriers.live", static () => Carriers().Live, "{thread}", "Carrier threads");
        s_meter.CreateObservableUpDownCounter(
            "megapipe.carriers.spare", static () => Carriers().Spare, "{thread}", "Carriers without a channel");
    }

    /// <summary>Somebody listens to the batch histograms; asked on each turn, so it is one comparison.</summary>
    public static bool BatchesObserved => s_eventsPerBatch.Enabled || s_requestsPerBatch.Enabled;

    public static bool CarrierTimeObserved => s_carrierTime.Enabled;

    /// <summary>Reads what the carriers count. Set before the first host is added.</summary>
    public static Func<CarrierCounts> Carriers { private get; set; } = static () => default;

    /// <summary>The carrier, after a dispatch.</summary>
    public static void RecordBatch(int channel, int events, int requests)
    {
        KeyValuePair<string, object?> tag = Tag(channel);
        s_eventsPerBatch.Record(events, tag);
        s_requestsPerBatch.Record(requests, tag);
    }

    public static void RecordCarrierTime(int channel, long ticks) =>
        s_carrierTime.Record((double)ticks / Stopwatch.Frequency, Tag(channel));

    /// <summary>A host, by what reads its channels' counters.</summary>
    public static void Add(Func<IReadOnlyList<MegaPipeChannelStatus>> channels)
    {
        lock (s_sync)
        {
            s_hosts = [.. s_hosts, channels];
        }
    }

    public static void Remove(Func<IReadOnlyList<MegaPipeChannelStatus>> channels)
    {
        lock (s_sync)
        {
            s_hosts = [.. s_hosts.Where(other => other != channels)];
        }
    }

    private static void Counter(string name, string unit, string description, string counter) =>
        s_meter.CreateObservableCounter(name, () => Observe(counter), unit, description);

    private static void UpDown(string name, string unit, string description, string counter) =>
        s_meter.CreateObservableUpDownCounter(name, () => Observe(counter), unit, description);

    private static IEnumerable<Measurement<long>> Observe(string counter)
    {
        foreach (Func<IReadOnlyList<MegaPipeChannelStatus>> host in Volatile.Read(ref s_hosts))
        {
            foreach (MegaPipeChannelStatus channel in host())
            {
                yield return new Measurement<long>(channel.Counters[counter], Tag(channel.Index));
            }
        }
    }

    private static KeyValuePair<string, object?> Tag(int channel) => new("megapipe.channel", channel);
}
