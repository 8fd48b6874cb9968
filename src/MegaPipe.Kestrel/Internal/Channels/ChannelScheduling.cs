// The scheduling options, resolved into what the hot path compares.
using System.Diagnostics;

namespace MegaPipe.Kestrel.Internal;

/// <summary>Where continuations run, in stopwatch ticks. Immutable, one per host.</summary>
internal sealed class ChannelScheduling(MegaPipeTransportOptions options)
{
    public bool OnCarrier { get; } = options.Scheduling != MegaPipeScheduling.ThreadPool;

    public bool Adaptive { get; } = options.Scheduling == MegaPipeScheduling.Adaptive;

    public long BudgetTicks { get; } = ToTicks(options.InlineBudget);

    public long HandOverTicks { get; } = ToTicks(options.HandOverAfter);

    public TimeSpan HandOverAfter { get; } = options.HandOverAfter;

    public int MaxCarriers { get; } = options.MaxCarriers;

    private static long ToTicks(TimeSpan time) => (long)(time.TotalSeconds * Stopwatch.Frequency);
}
