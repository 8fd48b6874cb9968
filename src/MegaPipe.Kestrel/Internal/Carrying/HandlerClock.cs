// How long a continuation itself kept its thread.
using System.Diagnostics;
using System.Runtime;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>
/// Time that the runtime took of a thread: compiling on it, and the collector's pauses. Neither says anything about the
/// handler, and a process that has just started does both. Two reads of counters, no system call.
/// </summary>
internal struct HandlerClock
{
    private TimeSpan _compiled;
    private TimeSpan _paused;

    /// <summary>From now on, on this thread.</summary>
    public static HandlerClock Start() => new()
    {
        _compiled = JitInfo.GetCompilationTime(currentThread: true),
        _paused = GC.GetTotalPauseDuration(),
    };

    /// <summary>What is left of <paramref name="ticks"/>, which ended just now, and starts anew.</summary>
    public long Take(long ticks)
    {
        HandlerClock now = Start();
        TimeSpan taken = now._compiled - _compiled + (now._paused - _paused);
        this = now;
        return Math.Max(0, ticks - (long)(taken.TotalSeconds * Stopwatch.Frequency));
    }
}
