// The meter "MegaPipe.Kestrel": counters are read when somebody asks, histograms recorded only while somebody listens,
// so it costs next to nothing when nobody does. The classes that count register what is read.
// Names, units and attributes follow the semantic conventions (InstrumentTests); docs/GLOSSARY.md has the table.
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Diagnostics.Metrics;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>What the process's carriers count.</summary>
/// <param name="Live">Carrier threads.</param>
/// <param name="Spare">Those without a channel.</param>
/// <param name="PoolGrown">Times that a stuck thread pool was made to grow.</param>
internal readonly record struct CarrierCounts(int Live, int Spare, long PoolGrown);

internal static class MegaPipeMetrics
{
    public const string MeterName = "MegaPipe.Kestrel";

    public const string ChannelTag = "megapipe.channel";

    /// <summary>Which kind of thread was blocked: "carrier" or "pool".</summary>
    public const string ThreadTag = "megapipe.thread";

    private const string StateTag = "megapipe.carrier.state";

    private static readonly KeyValuePair<string, object?>[] s_tags =
        [.. Enumerable.Range(0, 128).Select(channel => new KeyValuePair<string, object?>(ChannelTag, channel))];

    private static readonly Lock s_sync = new();
    private static readonly Meter s_meter = new(MeterName, "1.0");
    private static readonly Histogram<int> s_eventsPerBatch = s_meter.CreateHistogram(
        "megapipe.batch.events", "{event}", "Events taken from the kernel at a time",
        advice: Buckets<int>(1, 2, 4, 8, 16, 32, 64, 128, 256));

    private static readonly Histogram<int> s_requestsPerBatch = s_meter.CreateHistogram(
        "megapipe.batch.requests", "{request}", "Requests given to the kernel between two takes of events",
        advice: Buckets<int>(0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512));

    private static readonly Histogram<double> s_carrierTime = s_meter.CreateHistogram(
        "megapipe.continuation.duration", "s", "Time that a continuation kept its carrier", advice: ShortTimes());

    private static readonly Histogram<double> s_turnTime = s_meter.CreateHistogram(
        "megapipe.turn.duration", "s", "Time that the continuations of a turn kept their channel's carrier",
        advice: ShortTimes());

    private static readonly Histogram<double> s_blockedTime = s_meter.CreateHistogram(
        "megapipe.blocked.duration", "s", "Time for which a request blocked a thread",
        advice: Buckets(0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30));

    private static HostMeter[] s_hosts = [];

    static MegaPipeMetrics()
    {
        PerEndpoint(
            MeterKind.Counter, "megapipe.connection.accepted", "{connection}", "Connections accepted",
            static counts => counts.Accepted);
        Array.ForEach(CounterTable.MostAsked, PerChannel);
        PerEndpoint(
            MeterKind.UpDown, "megapipe.connection.count", "{connection}", "Open connections",
            static counts => counts.Active);
        PerEndpoint(
            MeterKind.Counter, "megapipe.connection.reset", "{connection}", "Connections reset by their peer",
            static counts => counts.Resets);
        PerEndpoint(
            MeterKind.Counter, "megapipe.accept.errors", "{error}", "Accepts that failed and were tried again",
            static counts => counts.AcceptErrors);
        foreach (CounterRow row in CounterTable.Rows)
        {
            if (!CounterTable.MostAsked.Contains(row.Id))
            {
                PerChannel(row.Id);
            }
        }

        Create(
            MeterKind.UpDown, "megapipe.carrier.count", "{thread}", "Carrier threads of the process",
            static () =>
            [
                new(Carriers().Live - Carriers().Spare, new KeyValuePair<string, object?>(StateTag, "carrying")),
                new(Carriers().Spare, new KeyValuePair<string, object?>(StateTag, "spare")),
            ]);
        Create(
            MeterKind.Counter, "megapipe.pool.grown", "{raise}", "Times that a stuck thread pool was made to grow",
            static () => [new(Carriers().PoolGrown)]);
    }

    /// <summary>Somebody listens to the batch histograms; asked on each turn, so it is one comparison.</summary>
    public static bool BatchesObserved => s_eventsPerBatch.Enabled || s_requestsPerBatch.Enabled;

    public static bool CarrierTimeObserved => s_carrierTime.Enabled;

    public static bool TurnsObserved => s_turnTime.Enabled;

    /// <summary>Reads what the carriers count. Set before the first host is added.</summary>
    public static Func<CarrierCounts> Carriers { get; set; } = static () => default;

    /// <summary>The carrier, after a dispatch.</summary>
    public static void RecordBatch(int channel, int events, int requests)
    {
        KeyValuePair<string, object?> tag = Tag(channel);
        Record(s_eventsPerBatch, events, tag);
        Record(s_requestsPerBatch, requests, tag);
    }

    public static void RecordCarrierTime(int channel, long ticks) =>
        Record(s_carrierTime, (double)ticks / Stopwatch.Frequency, Tag(channel));

    /// <summary>The carrier, after the last continuation of a turn.</summary>
    public static void RecordTurn(int channel, long ticks) =>
        Record(s_turnTime, (double)ticks / Stopwatch.Frequency, Tag(channel));

    /// <summary>
    /// On a carrier an exception of who listens would end the process: what he was told is lost instead, as a message
    /// that a logger does not take is.
    /// </summary>
    [SuppressMessage("Design", "CA1031", Justification = "Nothing is known of who listens.")]
    private static void Record<T>(
        Histogram<T> histogram, T value, params ReadOnlySpan<KeyValuePair<string, object?>> tags)
        where T : struct
    {
        try
        {
            histogram.Record(value, tags);
        }
        catch (Exception)
        {
        }
    }

    /// <summary>As rarely as something blocks.</summary>
    public static void RecordBlocked(WorkDescription work, int channel, long ticks)
    {
        if (!s_blockedTime.Enabled)
        {
            return;
        }

        TagList tags = new() { { ThreadTag, ThreadKind(channel) } };
        if (work.Method is not null)
        {
            tags.Add("http.request.method", work.Method);
        }

        if (work.Route is not null)
        {
            tags.Add("http.route", work.Route);
        }

        Record(s_blockedTime, (double)ticks / Stopwatch.Frequency, [.. tags]);
    }

    /// <summary>The thread of a channel, or of <see cref="BlockingRow.Pool"/>.</summary>
    public static string ThreadKind(int channel) => channel == BlockingRow.Pool ? "pool" : "carrier";

    /// <summary>Without a boxed number for each record, on machines of usual size.</summary>
    public static KeyValuePair<string, object?> Tag(int channel)
    {
        KeyValuePair<string, object?>[] tags = s_tags;
        return (uint)channel < (uint)tags.Length ? tags[channel] : new(ChannelTag, channel);
    }

    public static void Add(HostMeter host)
    {
        lock (s_sync)
        {
            s_hosts = [.. s_hosts, host];
        }
    }

    public static void Remove(HostMeter host)
    {
        lock (s_sync)
        {
            s_hosts = [.. s_hosts.Where(other => other != host)];
        }
    }

    /// <summary>Over all channels of the process.</summary>
    public static long Sum(ChannelCounter counter)
    {
        long sum = 0;
        foreach (HostMeter host in Volatile.Read(ref s_hosts))
        {
            foreach (IMeteredChannel channel in host.Channels)
            {
                sum += channel.Read(counter);
            }
        }

        return sum;
    }

    private static void PerEndpoint(
        MeterKind kind, string name, string unit, string description, Func<ConnectionCounts, long> read) =>
        Create(kind, name, unit, description, () => Observe(read));

    private static void PerChannel(ChannelCounter counter)
    {
        CounterRow row = CounterTable.Rows[(int)counter];
        Create(row.Kind, row.Instrument, row.Unit, row.Description, () => Observe(counter));
    }

    private static void Create(
        MeterKind kind, string name, string unit, string description, Func<IEnumerable<Measurement<long>>> observe)
    {
        if (kind == MeterKind.Counter)
        {
            s_meter.CreateObservableCounter(name, observe, unit, description);
        }
        else if (kind == MeterKind.UpDown)
        {
            s_meter.CreateObservableUpDownCounter(name, observe, unit, description);
        }
    }

    /// <summary>One read for each channel: nothing is copied or looked up by name.</summary>
    private static IEnumerable<Measurement<long>> Observe(ChannelCounter counter)
    {
        foreach (HostMeter host in Volatile.Read(ref s_hosts))
        {
            for (int i = 0; i < host.Channels.Count; i++)
            {
                yield return new Measurement<long>(host.Channels[i].Read(counter), host.Tags[i]);
            }
        }
    }

    private static IEnumerable<Measurement<long>> Observe(Func<ConnectionCounts, long> read)
    {
        foreach (HostMeter host in Volatile.Read(ref s_hosts))
        {
            foreach (EndpointMeter endpoint in host.Endpoints)
            {
                for (int channel = 0; channel < endpoint.ChannelCount; channel++)
                {
                    yield return new Measurement<long>(read(endpoint.On(channel)), endpoint.Tags(channel));
                }
            }
        }
    }

    private static InstrumentAdvice<T> Buckets<T>(params T[] boundaries) where T : struct =>
        new() { HistogramBucketBoundaries = boundaries };

    /// <summary>From a short handler to one that blocks; InlineBudget and HandOverAfter are boundaries.</summary>
    private static InstrumentAdvice<double> ShortTimes() => Buckets(
        0.000_005, 0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.05, 0.2, 1);
}
