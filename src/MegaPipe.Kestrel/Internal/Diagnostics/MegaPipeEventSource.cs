// The event source "MegaPipe-Kestrel", for dotnet-counters and dotnet-trace.
using System.Diagnostics.Tracing;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>Events of what is rare, and counters that are read while somebody listens.</summary>
[EventSource(Name = "MegaPipe-Kestrel")]
internal sealed class MegaPipeEventSource : EventSource
{
    public static readonly MegaPipeEventSource Log = new();

    private readonly List<DiagnosticCounter> _counters = [];

    private MegaPipeEventSource()
    {
    }

    /// <summary>The first endpoint is bound.</summary>
    [Event(1, Level = EventLevel.Informational)]
    public void Started(string options, string features) => WriteEvent(1, options, features);

    [Event(2, Level = EventLevel.Warning)]
    public void Fallback(string reason) => WriteEvent(2, reason);

    [Event(3, Level = EventLevel.Informational)]
    public void Bound(string endpoint, int channels) => WriteEvent(3, endpoint, channels);

    [Event(4, Level = EventLevel.Informational)]
    public void Unbound(string endpoint) => WriteEvent(4, endpoint);

    /// <summary>A channel was taken from a carrier that is stuck in <paramref name="work"/>.</summary>
    [Event(5, Level = EventLevel.Informational)]
    public void HandOver(int channel, int thread, string work) => WriteEvent(5, channel, thread, work);

    /// <summary>A thread is back; channel -1 is the thread pool.</summary>
    [Event(6, Level = EventLevel.Warning)]
    public void Blocked(string work, int channel, double milliseconds) => WriteEvent(6, work, channel, milliseconds);

    [Event(7, Level = EventLevel.Warning)]
    public void CarriersExhausted(int maxCarriers) => WriteEvent(7, maxCarriers);

    [Event(8, Level = EventLevel.Warning)]
    public void NoThread(string limits) => WriteEvent(8, limits);

    [Event(9, Level = EventLevel.Warning)]
    public void AcceptFailed(string endpoint, string error) => WriteEvent(9, endpoint, error);

    [Event(10, Level = EventLevel.Informational)]
    public void PoolGrown(int threads) => WriteEvent(10, threads);

    protected override void OnEventCommand(EventCommandEventArgs command)
    {
        if (command.Command == EventCommand.Enable && _counters.Count == 0)
        {
            Now("current-connections", "Current Connections", ChannelCounter.Connections);
            Rate("connections-per-second", "Connection Rate", ChannelCounter.Accepted);
            Rate("inline-per-second", "Continuations Run Inline", ChannelCounter.Inline);
            Rate("offloaded-per-second", "Continuations Offloaded", ChannelCounter.Offloaded);
            Rate("handovers-per-second", "Hand-Over Rate", ChannelCounter.HandOvers);
            Rate("system-calls-per-second", "System Call Rate", ChannelCounter.SystemCalls);
            Rate("requests-per-second", "Rate of Requests to the Kernel", ChannelCounter.Requests);
            Rate("events-per-second", "Rate of Events from the Kernel", ChannelCounter.Events);
            Rate("buffers-starved-per-second", "Rate of Reads without a Buffer", ChannelCounter.BuffersStarved);
            Now("leases-out", "Receive Buffers Held", ChannelCounter.LeasesOut);
            _counters.Add(new PollingCounter("carriers", this, static () => MegaPipeMetrics.Carriers().Live)
            {
                DisplayName = "Carrier Threads",
            });
        }
    }

    private void Now(string name, string title, ChannelCounter counter) => _counters.Add(
        new PollingCounter(name, this, () => MegaPipeMetrics.Sum(counter)) { DisplayName = title });

    private void Rate(string name, string title, ChannelCounter counter) => _counters.Add(
        new IncrementingPollingCounter(name, this, () => MegaPipeMetrics.Sum(counter))
        {
            DisplayName = title,
            DisplayRateTimeScale = TimeSpan.FromSeconds(1),
        });
}
