// Kestrel's own meters live above the transport and must go on counting.
using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class MeterContract(TransportKind kind)
{
    [Fact]
    public async Task KestrelMeter_ConnectionsComeAndGo_AreCounted()
    {
        ConcurrentDictionary<string, long> sums = new();
        ConcurrentBag<double> durations = [];
        using MeterListener listener = new();
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument.Meter.Name == "Microsoft.AspNetCore.Server.Kestrel")
            {
                self.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>((instrument, value, _, _) =>
            sums.AddOrUpdate(instrument.Name, value, (_, sum) => sum + value));
        listener.SetMeasurementEventCallback<double>((instrument, value, _, _) =>
        {
            if (instrument.Name == "kestrel.connection.duration")
            {
                durations.Add(value);
            }
        });
        listener.Start();
        await using HostHarness host = await HostHarness.StartAsync(kind, context => context.Response.WriteAsync("x"));
        for (int i = 0; i < 3; i++)
        {
            await host.AssertServesAsync();
        }

        await Eventually.True(() => durations.Count == 3, () => $"{durations.Count} durations");
        await Eventually.True(() => sums.GetValueOrDefault("kestrel.active_connections", -1) == 0);
    }
}
