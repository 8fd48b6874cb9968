// The event source "MegaPipe-Kestrel", as an EventListener sees it.
using System.Collections.Concurrent;
using System.Diagnostics.Tracing;
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Diagnostics")]
public sealed class EventSourceTests
{
    [Fact]
    public async Task Events_OfAHostsLife_SayWhatHappenedWhere()
    {
        using Listener listener = new();
        string endPoint;
        await using (HostHarness host = await SchedulingHost.StartAsync(
            context =>
            {
                Thread.Sleep(60);
                return context.Answer("late");
            },
            options => options.Channels = 1))
        {
            endPoint = host.EndPoint.ToString();
            await listener.Has("Started", text => text.Contains("Channels=1", StringComparison.Ordinal));
            await listener.Has("Bound", text => text == $"{endPoint},1");
            await Eventually.True(() =>
            {
                HttpPeer peer = host.ConnectPeerAsync().GetAwaiter().GetResult();
                peer.GetAsync("/").GetAwaiter().GetResult();
                Thread.Sleep(25);
                return listener.Any("HandOver", text => text.StartsWith("0,", StringComparison.Ordinal)
                    && text.EndsWith(",GET (no endpoint)", StringComparison.Ordinal));
            });
            await listener.Has("Blocked", text => text.StartsWith("GET (no endpoint),", StringComparison.Ordinal));
        }

        await listener.Has("Unbound", text => text == endPoint);
    }

    [Fact]
    public async Task Fallback_IsAnEvent()
    {
        using Listener listener = new();
        await using HostHarness host = await SchedulingHost.StartAsync(
            context => context.Answer("x"), kind: TransportKind.MegaPipeFallback);
        await listener.Has("Fallback", text => text == host.Status!.FallbackReason);
    }

    [Fact]
    public async Task Counters_AreThoseThatDotnetCountersShows()
    {
        using Listener listener = new(counters: true);
        await using HostHarness host = await SchedulingHost.StartAsync(context => context.Answer("x"));
        HttpPeer peer = await host.ConnectPeerAsync();
        await peer.GetAsync("/");
        foreach (string name in (string[])["current-connections", "connections-per-second", "inline-per-second",
            "offloaded-per-second", "handovers-per-second", "system-calls-per-second", "requests-per-second",
            "events-per-second", "buffers-starved-per-second", "leases-out", "carriers"])
        {
            await Eventually.True(() => listener.Counters.ContainsKey(name), () => name);
        }

        await Eventually.True(() => listener.Counters["current-connections"] >= 1);
        Assert.True(listener.Counters["carriers"] >= 1);
    }

    private sealed class Listener : EventListener
    {
        private readonly bool _counters;
        private readonly ConcurrentQueue<(string Name, string Text)> _events = new();

        public Listener(bool counters = false)
        {
            _counters = counters;
            foreach (EventSource source in EventSource.GetSources())
            {
                Enable(source);
            }

            EventSourceCreated += (_, created) => Enable(created.EventSource!);
        }

        public ConcurrentDictionary<string, double> Counters { get; } = new();

        public bool Any(string name, Func<string, bool> text) =>
            _events.Any(one => one.Name == name && text(one.Text));

        public Task Has(string name, Func<string, bool> text) => Eventually.True(
            () => Any(name, text), () => string.Join(Environment.NewLine, _events.Where(one => one.Name == name)),
            name);

        private void Enable(EventSource source)
        {
            if (source.Name == "MegaPipe-Kestrel")
            {
                EnableEvents(source, EventLevel.Informational, EventKeywords.All,
                    _counters ? new Dictionary<string, string?> { ["EventCounterIntervalSec"] = "0.1" } : null);
            }
        }

        protected override void OnEventWritten(EventWrittenEventArgs written)
        {
            if (_events is null || written.EventSource.Name != "MegaPipe-Kestrel")
            {
                return; // the base class may call before the fields are set
            }

            if (written.EventName == "EventCounters")
            {
                IDictionary<string, object> counter = (IDictionary<string, object>)written.Payload![0]!;
                Counters[(string)counter["Name"]] =
                    Convert.ToDouble(counter.TryGetValue("Mean", out object? mean) ? mean : counter["Increment"], null);
                return;
            }

            _events.Enqueue((written.EventName!, string.Join(',', written.Payload!)));
        }
    }
}
