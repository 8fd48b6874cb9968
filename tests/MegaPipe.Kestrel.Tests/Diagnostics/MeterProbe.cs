// What a listener such as dotnet-counters sees of the meter "MegaPipe.Kestrel".
using System.Diagnostics.Metrics;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

internal sealed class MeterProbe : IDisposable
{
    private readonly Lock _sync = new();
    private readonly Dictionary<string, Instrument> _instruments = [];
    private readonly MeterListener _listener = new();
    private readonly Dictionary<string, (long Count, double Sum)> _histograms = [];
    private List<(string Name, long Value, Dictionary<string, object?> Tags)> _seen = [];

    public MeterProbe()
    {
        _listener.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Meter.Name == "MegaPipe.Kestrel")
            {
                lock (_sync)
                {
                    _instruments.Add(instrument.Name, instrument);
                }

                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<long>((instrument, value, tags, _) => Add(instrument, value, tags));
        _listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) =>
        {
            if (instrument is Histogram<int>)
            {
                Record(instrument, value);
            }
            else
            {
                Add(instrument, value, tags);
            }
        });
        _listener.SetMeasurementEventCallback<double>((instrument, value, _, _) => Record(instrument, value));
        _listener.Start();
    }

    public IReadOnlyDictionary<string, Instrument> Instruments
    {
        get
        {
            lock (_sync)
            {
                return new Dictionary<string, Instrument>(_instruments);
            }
        }
    }

    /// <summary>An instrument's sum over all channels, now.</summary>
    public long Sum(string name) => Read(name).Sum(measurement => measurement.Value);

    /// <summary>The sum of the measurements of which an attribute has this value.</summary>
    public long Sum(string name, object attribute) => ReadTags(name)
        .Where(measurement => measurement.Tags.ContainsValue(attribute)).Sum(measurement => measurement.Value);

    /// <summary>An instrument's measurements now, and the channel of each; -1 without one.</summary>
    public IReadOnlyList<(long Value, int Channel)> Read(string name) =>
    [
        .. ReadTags(name).Select(seen => (seen.Value, (int)seen.Tags.GetValueOrDefault("megapipe.channel", -1)!)),
    ];

    /// <summary>An instrument's measurements now, with their attributes.</summary>
    public IReadOnlyList<(long Value, Dictionary<string, object?> Tags)> ReadTags(string name)
    {
        lock (_sync)
        {
            _seen = [];
        }

        _listener.RecordObservableInstruments();
        lock (_sync)
        {
            return [.. _seen.Where(seen => seen.Name == name).Select(seen => (seen.Value, seen.Tags))];
        }
    }

    /// <summary>How often a histogram recorded since the probe was made, and the sum of what it recorded.</summary>
    public (long Count, double Sum) Recorded(string histogram)
    {
        lock (_sync)
        {
            return _histograms.GetValueOrDefault(histogram);
        }
    }

    public void Dispose() => _listener.Dispose();

    private void Record(Instrument instrument, double value)
    {
        lock (_sync)
        {
            (long count, double sum) = _histograms.GetValueOrDefault(instrument.Name);
            _histograms[instrument.Name] = (count + 1, sum + value);
        }
    }

    private void Add(Instrument instrument, long value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        Dictionary<string, object?> attributes = new(tags.ToArray());
        lock (_sync)
        {
            _seen.Add((instrument.Name, value, attributes));
        }
    }
}
