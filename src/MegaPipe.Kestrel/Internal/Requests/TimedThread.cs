// Which request runs on which thread where no watcher looks: asked when somebody wants to know what is stuck.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Diagnostics;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Internal.Requests;

/// <summary>
/// One per thread that has ever run a request here. Its time is that of the kernel's coarse clock, right to a tick (1
/// to 10 ms). Each request asks for it twice, and the exact clock costs five times as much (22 and 4 ns): 1.4 % of what
/// a request costs that shares its reads and sends with others (HTTP/2).
/// </summary>
internal sealed class TimedThread(Thread thread)
{
    private static readonly Lock s_sync = new();
    private static readonly long s_ticksPerMs = Stopwatch.Frequency / 1000;
    private static TimedThread[] s_all = [];

    [ThreadStatic]
    private static TimedThread? t_current;

    private readonly int _id = ThreadProbe.CurrentId;
    private readonly RequestWork _work = new();
    private BlockingTable? _table;
    private HandlerClock _clock;
    private long _startMs;

    /// <summary>The calling thread begins a request.</summary>
    public static TimedThread Begin(HttpContext context, BlockingTable table)
    {
        TimedThread current = t_current ??= Register();
        current._startMs = Environment.TickCount64;
        current._clock.Freshen(current._startMs * s_ticksPerMs);
        current._work.Begin(context);
        Volatile.Write(ref current._table, table);
        return current;
    }

    /// <summary>Stopwatch ticks since <see cref="Begin"/>, to a tick of the kernel.</summary>
    public long Ticks => (Environment.TickCount64 - _startMs) * s_ticksPerMs;

    /// <summary><paramref name="ticks"/>, which ended just now, without the runtime's own time.</summary>
    public long Charge(long ticks)
    {
        HandlerClock clock = _clock;
        return clock.Take(ticks, out _);
    }

    /// <summary>What the thread was in, or null if that is over by now.</summary>
    public WorkDescription? Describe() => _work.Describe();

    public void End()
    {
        _table = null;
        _work.End();
    }

    /// <summary>
    /// Requests of a table that keep their thread since <paramref name="before"/>. A thread may go on to its next one
    /// while it is asked: then the answer is that one's name, and no worse than late.
    /// </summary>
    public static IEnumerable<StuckWork> Find(BlockingTable table, long before)
    {
        long nowMs = Environment.TickCount64;
        long now = Stopwatch.GetTimestamp();
        foreach (TimedThread thread in Volatile.Read(ref s_all))
        {
            long start = now - ((nowMs - thread._startMs) * s_ticksPerMs);
            if (Volatile.Read(ref thread._table) == table && start <= before && thread.Describe() is { } work)
            {
                yield return new StuckWork(work, BlockingRow.Pool, thread._id, start);
            }
        }
    }

    private static TimedThread Register()
    {
        TimedThread current = new(Thread.CurrentThread);
        lock (s_sync)
        {
            s_all = [.. s_all.Where(static other => other.IsAlive), current];
        }

        return current;
    }

    private bool IsAlive => thread.IsAlive;
}
