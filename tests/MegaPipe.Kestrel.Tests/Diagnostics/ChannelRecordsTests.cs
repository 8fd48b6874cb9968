// What a carrier has measured reaches who listens once, in order, and many at a time.
using System.Diagnostics;
using System.Diagnostics.Metrics;
using MegaPipe.Kestrel.Internal.Diagnostics;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Diagnostics")]
public sealed class ChannelRecordsTests : IDisposable
{
    /// <summary>No host of another test has it.</summary>
    private const int Channel = 12_345;

    private readonly List<(string Name, double Value)> _told = [];
    private readonly MeterListener _listener = new();
    private bool _throws;

    public ChannelRecordsTests()
    {
        _listener.InstrumentPublished = static (instrument, listener) =>
        {
            if (instrument.Meter.Name == MegaPipeMetrics.MeterName)
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        _listener.SetMeasurementEventCallback<int>((instrument, value, tags, _) => Add(instrument, value, tags));
        _listener.SetMeasurementEventCallback<double>((instrument, value, tags, _) =>
            Add(instrument, Math.Round(value * Stopwatch.Frequency), tags));
        _listener.Start();
    }

    [Fact]
    public void Records_AreToldWhenThereAreEnoughAndTheRestWhenAsked()
    {
        const int Count = (3 * ChannelRecords.Capacity) + 7;
        ChannelRecords records = new(Channel);
        for (int i = 0; i < Count; i++)
        {
            records.AddContinuation(i);
            records.AddTurn(10 * i);
            records.AddBatch(i, 2 * i);
            int told = (i + 1) / ChannelRecords.Capacity * ChannelRecords.Capacity;
            Assert.Equal([told, told, told, told], Counts());
        }

        records.TellAll();
        records.TellAll();
        IEnumerable<double> numbers = Enumerable.Range(0, Count).Select(number => (double)number);
        Assert.Equal(numbers, Of("megapipe.continuation.duration"));
        Assert.Equal(numbers.Select(number => 10 * number), Of("megapipe.turn.duration"));
        Assert.Equal(numbers, Of("megapipe.batch.events"));
        Assert.Equal(numbers.Select(number => 2 * number), Of("megapipe.batch.requests"));
    }

    /// <summary>An exception on a carrier would end the process.</summary>
    [Fact]
    public void Records_WhoListensThrows_TheNextAreToldAndTheCarrierGoesOn()
    {
        _throws = true;
        ChannelRecords records = new(Channel);
        for (int i = 0; i < ChannelRecords.Capacity + 1; i++)
        {
            records.AddContinuation(i);
            records.AddTurn(i);
            records.AddBatch(i, i);
        }

        records.TellAll();
        Assert.All(Counts()[..3], told => Assert.Equal(ChannelRecords.Capacity + 1, told));
    }

    public void Dispose() => _listener.Dispose();

    private int[] Counts() =>
    [
        Of("megapipe.continuation.duration").Count(), Of("megapipe.turn.duration").Count(),
        Of("megapipe.batch.events").Count(), Of("megapipe.batch.requests").Count(),
    ];

    private IEnumerable<double> Of(string name) => _told.Where(one => one.Name == name).Select(one => one.Value);

    private void Add(Instrument instrument, double value, ReadOnlySpan<KeyValuePair<string, object?>> tags)
    {
        // Other hosts' carriers may tell at the same time: their channels have other numbers.
        if (tags is [{ Value: Channel }])
        {
            _told.Add((instrument.Name, value));
            if (_throws)
            {
                throw new InvalidOperationException("of who listens");
            }
        }
    }
}
