// What a channel did between two looks at its counters.
namespace MegaPipe.Kestrel.Page.Internal;

internal static class Difference
{
    /// <summary>Without a look before, or in no time, rates are 0.</summary>
    public static ChannelSample Of(MegaPipeChannelStatus now, MegaPipeChannelStatus? before, double seconds)
    {
        double turns = Grown("turns");
        double runs = Grown("inline");
        double dispatches = Grown("dispatches");
        return new ChannelSample(now.Index)
        {
            Connections = Value(now, "connections"),
            Accepted = Rate("accepted"),
            Inline = Rate("inline"),
            Offloaded = Rate("offloaded"),
            TurnMicroseconds = Mean(Grown("turn_us"), turns),
            DelayMicroseconds = Mean(Grown("delay_us"), runs),
            Batch = Mean(Grown("events"), dispatches),
            HandOvers = (long)Grown("hand_overs"),
            StalledPercent = seconds > 0 ? Math.Round(Grown("stalled_us") / seconds / 10_000, 2) : 0,
            LeasesOut = Value(now, "leases_out"),
            Groups = now.Counters.TryGetValue("groups", out long groups) ? groups : null,
        };

        double Grown(string counter) =>
            before is null || seconds <= 0 ? 0 : Math.Max(0, Value(now, counter) - Value(before, counter));

        double Rate(string counter) => seconds > 0 ? Math.Round(Grown(counter) / seconds, 1) : 0;
    }

    private static double Mean(double sum, double count) => count > 0 ? Math.Round(sum / count, 1) : 0;

    private static long Value(MegaPipeChannelStatus channel, string counter) =>
        channel.Counters.TryGetValue(counter, out long value) ? value : 0;
}
