// What a listener such as dotnet-counters sees of the meter "MegaPipe.Kestrel".
using System.Diagnostics.Metrics;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

internal sealed class MeterProbe : IDisposable
{
    private readonly Lock _sync = new();
    private readonly Dictionary<string, Instrument> _instruments = [];
    private readonly MeterListener _listener = new();
    private readonly Dictionary<string, (long Count, double Sum)> _histograms = [];
    private List<(string Name, long Value, int Channel)> _seen = [];

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

    /// <summary>An instrument's measurements now, and the channel of each; -1 without one.</summary>
    public IReadOnlyList<(long Value, int Channel)> Read(string name)
    {
        lock (_sync)
        {
            _seen = [];
        }

        _listener.RecordObservableInstruments();
        lock (_sync)
        {
            return [.. _seen.Where(seen => seen.Name == name).Select(seen => (seen.Value, seen.Channel))];
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
        int channel = -1;
        foreach (KeyValuePair<string, object?> tag in tags)
        {
            channel = tag.Key == "megapipe.channel" ? (int)tag.Value! : channel;
        }

        lock (_sync)
        {
            _seen.Add((instrument.Name, value, channel));
        }
    }
}
