// The scheduling options, resolved into what the hot path compares.
using System.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>Where continuations run, in stopwatch ticks. Immutable, one per host.</summary>
internal sealed class ChannelScheduling(MegaPipeTransportOptions options, int channels)
{
    /// <summary>As many continuations as just pass for short may run before others wait too long.</summary>
    private const int QueueDelayBudgets = 10;

    /// <summary>
    /// Each hand-over holds everybody behind it for HandOverAfter or a little more. Two in ten such times are a fifth
    /// of the time: what follows is better off on the pool.
    /// </summary>
    private const int RetreatHandOvers = 10;

    public bool OnCarrier { get; } = options.Scheduling != MegaPipeScheduling.ThreadPool;

    /// <summary>Somebody evens out what the channels do, and must know how they are.</summary>
    public bool Balanced { get; } = channels > 1 && !options.ShareAddress &&
        options.Steering is MegaPipeSteering.Balanced or MegaPipeSteering.Auto;

    /// <summary>
    /// A channel whose carrier is stuck in application code goes to another carrier. Inline only where it is told.
    /// </summary>
    public bool HandsOver { get; } = options.Scheduling == MegaPipeScheduling.Adaptive ||
        (options.Scheduling == MegaPipeScheduling.Inline && options.Steering == MegaPipeSteering.Balanced);

    public bool Adaptive { get; } = options.Scheduling == MegaPipeScheduling.Adaptive;

    public long BudgetTicks { get; } = ToTicks(options.InlineBudget);

    /// <summary>What waits longer in a turn is offloaded while a core is idle.</summary>
    public long QueueDelayTicks { get; } = ToTicks(options.InlineBudget * QueueDelayBudgets);

    public long HandOverTicks { get; } = ToTicks(HandOverTime(options));

    public TimeSpan HandOverAfter { get; } = HandOverTime(options);

    /// <summary>Never fewer than two for each channel: one that carries and one to hand over to.</summary>
    public int MaxCarriers { get; } = Math.Max(options.MaxCarriers, 2 * channels);

    /// <summary>Up to so many threads a stuck thread pool is made to grow; 0: never.</summary>
    public int MaxPoolThreads { get; } =
        options.Scheduling == MegaPipeScheduling.Adaptive ? options.MaxPoolThreads : 0;

    /// <summary>
    /// A channel that loses a second carrier within this time runs nothing on its carrier for so long.
    /// </summary>
    public long RetreatTicks { get; } = ToTicks(options.HandOverAfter * RetreatHandOvers);

    /// <summary>
    /// Inline trusts handlers to be short. Balanced promises that no client waits for one that is not for a quarter of
    /// a second, and a busy machine keeps a thread from its CPU for tens of milliseconds.
    /// </summary>
    private static readonly TimeSpan s_inlineHandOver = TimeSpan.FromMilliseconds(100);

    private static TimeSpan HandOverTime(MegaPipeTransportOptions options) =>
        options.Scheduling == MegaPipeScheduling.Inline ? s_inlineHandOver : options.HandOverAfter;

    private static long ToTicks(TimeSpan time) => (long)(time.TotalSeconds * Stopwatch.Frequency);
}
