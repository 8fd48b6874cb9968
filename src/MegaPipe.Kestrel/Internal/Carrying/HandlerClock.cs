// How long a continuation itself kept its thread.
using System.Diagnostics;
using System.Runtime;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>
/// Leaves out the time that others took of a thread. Compiling on it and the collector's pauses say nothing about the
/// handler, and a process that has just started does both: two reads of counters, no system call. Nor does the time in
/// which the thread was ready and had no CPU; telling it costs system calls, so only <see cref="StartExact"/> does.
/// </summary>
internal struct HandlerClock
{
    /// <summary>
    /// So old may the counters be at a run's beginning. The runtime's time of the last millisecond before a suspicious
    /// run is taken off it, too: an error in favour of the handler, and only where the runtime was busy just then.
    /// </summary>
    private static readonly long s_freshTicks = Stopwatch.Frequency / 1000;

    [ThreadStatic]
    private static HandlerClock t_ofThisThread;

    // Ticks; 0: not by Freshen.
    private long _readAt;

    private TimeSpan _compiled;
    private TimeSpan _paused;
    private ThreadTimes _thread;

    /// <summary>It knows the thread's CPU time; until the next <see cref="Take"/>.</summary>
    public bool IsExact { get; private set; }

    /// <summary>The calling thread's own, for runs that come one behind the other.</summary>
    public static ref HandlerClock OfThisThread => ref t_ofThisThread;

    /// <summary>From now on, on this thread.</summary>
    public static HandlerClock Start() => new()
    {
        _compiled = JitInfo.GetCompilationTime(currentThread: true),
        _paused = GC.GetTotalPauseDuration(),
    };

    /// <summary>The same, with the thread's CPU time: for runs that take far longer than asking for it.</summary>
    public static HandlerClock StartExact()
    {
        HandlerClock clock = Start();
        clock.IsExact = ThreadTimes.TryRead(out clock._thread);
        return clock;
    }

    /// <summary>
    /// For a run that begins <paramref name="now"/>, in ticks, on the thread whose clock this is: reads the counters
    /// once a millisecond at most, so that each of many short runs costs a comparison.
    /// </summary>
    public void Freshen(long now)
    {
        if (IsExact || now - _readAt > s_freshTicks)
        {
            this = Start();
            _readAt = now;
        }
    }

    /// <summary>What is left of <paramref name="ticks"/>, which ended just now, and starts anew, not exactly.</summary>
    /// <param name="ticks">The time by the clock on the wall.</param>
    /// <param name="waited">The thread slept or waited of its own accord: false where the clock is not exact.</param>
    public long Take(long ticks, out bool waited)
    {
        waited = false;
        if (IsExact && ThreadTimes.TryRead(out ThreadTimes thread))
        {
            waited = thread.Waits != _thread.Waits;
            ticks = waited ? ticks : Math.Min(ticks, ToTicks(thread.Cpu - _thread.Cpu));
        }

        HandlerClock now = Start();
        TimeSpan taken = now._compiled - _compiled + (now._paused - _paused);
        this = now;
        return Math.Max(0, ticks - ToTicks(taken));
    }

    private static long ToTicks(TimeSpan time) => (long)(time.TotalSeconds * Stopwatch.Frequency);
}
