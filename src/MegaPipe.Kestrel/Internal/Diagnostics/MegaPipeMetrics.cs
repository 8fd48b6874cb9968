// The meter "MegaPipe.Kestrel": counters are read when somebody asks, histograms recorded
// only while somebody listens, so it costs next to nothing when nobody does.
using System.Diagnostics;
using System.Diagnostics.Metrics;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

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

    private static ChannelSet[] s_sets = [];

    static MegaPipeMetrics()
    {
        UpDown("megapipe.connections.active", "{connection}", "Open connections", "connections");
        Counter("megapipe.connections.accepted", "{connection}", "Connections accepted", "accepted");
        Counter("megapipe.connections.reset", "{connection}", "Connections reset by their peer", "resets");
        Counter("megapipe.system_calls", "{call}", "io_uring_enter calls", "system_calls");
        Counter("megapipe.requests", "{request}", "Requests given to the kernel", "requests");
        Counter("megapipe.events", "{event}", "Events taken from the kernel", "events");
        Counter("megapipe.dispatches", "{dispatch}", "Dispatches that brought events", "dispatches");
        Counter("megapipe.wakeups", "{wakeup}", "Wake-ups of a sleeping carrier", "wakes");
        UpDown("megapipe.leases", "{buffer}", "Receive buffers that readers hold", "leases_out");
        Counter("megapipe.buffers.starved", "{read}", "Reads that found no free buffer", "buffers_starved");
        Counter("megapipe.reads.paused", "{pause}", "Reads paused by back-pressure", "pauses");
        Counter("megapipe.continuations.inline", "{continuation}", "Continuations run on a carrier", "inline");
        Counter(
            "megapipe.continuations.offloaded", "{continuation}", "Continuations offloaded to the thread pool",
            "offloaded");
        s_meter.CreateObservableCounter(
            "megapipe.handovers", () => Interlocked.Read(ref CarrierWatcher.Instance.HandOverCount), "{handover}",
            "Channels taken from a carrier stuck in application code");
        s_meter.CreateObservableCounter(
            "megapipe.pool.grown", () => CarrierWatcher.Instance.PoolGrowCount, "{time}",
            "Times that a stuck thread pool was made to grow");
        s_meter.CreateObservableUpDownCounter(
            "megapipe.carriers.live", () => CarrierPool.Instance.LiveCount, "{thread}", "Carrier threads");
        s_meter.CreateObservableUpDownCounter(
            "megapipe.carriers.spare", () => CarrierPool.Instance.SpareCount, "{thread}", "Carriers without a channel");
    }

    /// <summary>Somebody listens to the batch histograms; asked on each turn, so it is one comparison.</summary>
    public static bool BatchesObserved => s_eventsPerBatch.Enabled || s_requestsPerBatch.Enabled;

    public static bool CarrierTimeObserved => s_carrierTime.Enabled;

    /// <summary>The carrier, after a dispatch.</summary>
    public static void RecordBatch(TransportChannel channel, int events)
    {
        ChannelCounters ring = default;
        channel.Native.ReadCounters(ref ring);
        KeyValuePair<string, object?> tag = Tag(channel.Index);
        s_eventsPerBatch.Record(events, tag);
        s_requestsPerBatch.Record((int)((long)ring.Requests - channel.RequestsRecorded), tag);
        channel.RequestsRecorded = (long)ring.Requests;
    }

    public static void RecordCarrierTime(TransportChannel channel, long ticks) =>
        s_carrierTime.Record((double)ticks / Stopwatch.Frequency, Tag(channel.Index));

    public static void Add(ChannelSet set)
    {
        lock (s_sync)
        {
            s_sets = [.. s_sets, set];
        }
    }

    public static void Remove(ChannelSet set)
    {
        lock (s_sync)
        {
            s_sets = [.. s_sets.Where(other => other != set)];
        }
    }

    private static void Counter(string name, string unit, string description, string counter) =>
        s_meter.CreateObservableCounter(name, () => Observe(counter), unit, description);

    private static void UpDown(string name, string unit, string description, string counter) =>
        s_meter.CreateObservableUpDownCounter(name, () => Observe(counter), unit, description);

    private static IEnumerable<Measurement<long>> Observe(string counter)
    {
        foreach (ChannelSet set in Volatile.Read(ref s_sets))
        {
            foreach (MegaPipeChannelStatus channel in ChannelReport.For(set)())
            {
                yield return new Measurement<long>(channel.Counters[counter], Tag(channel.Index));
            }
        }
    }

    private static KeyValuePair<string, object?> Tag(int channel) => new("megapipe.channel", channel);
}
