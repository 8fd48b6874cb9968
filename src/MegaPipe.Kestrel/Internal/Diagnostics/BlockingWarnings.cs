// What the log says of an endpoint that keeps threads.
using System.Diagnostics;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>
/// At most one warning per endpoint and interval, on a pool thread: a logger may block, too. A short wait that happens
/// now and then (something that is made once, a lock that is held for long once) is in the table and not in the log.
/// </summary>
internal sealed class BlockingWarnings(ILogger logger, TimeSpan handOverAfter)
{
    internal static readonly TimeSpan Interval = TimeSpan.FromMinutes(10);

    /// <summary>From so many hand-over times on, one wait is enough.</summary>
    private const int LongFactor = 10;

    /// <summary>Shorter waits, and what may only be a busy machine, are told from so many on.</summary>
    private const int ShortCount = 3;

    public void Say(BlockingRow row, int channel, long ticks, ThreadState state)
    {
        TimeSpan took = Stopwatch.GetElapsedTime(0, ticks);
        (long count, TimeSpan total, TimeSpan worst) = row.Sums();
        bool waits = state is ThreadState.WaitsForSystem or ThreadState.WaitsForThread or ThreadState.Waits;
        bool isLong = took >= handOverAfter * LongFactor;
        bool isOften = count >= ShortCount;
        if (took < BlockingTable.StuckAfter && !(waits ? isLong || isOften : isLong && isOften))
        {
            return;
        }

        long now = Environment.TickCount64;
        long warned = Volatile.Read(ref row.WarnedAt);
        if ((warned != 0 && now - warned < Interval.TotalMilliseconds) ||
            Interlocked.CompareExchange(ref row.WarnedAt, now, warned) != warned)
        {
            return;
        }

        string place = channel == BlockingRow.Pool
            ? "a thread of the pool" : $"the thread of channel {channel}, which another one took over";
        worst = worst > took ? worst : took;
        ThreadPool.UnsafeQueueUserWorkItem(
            _ => TransportLog.Blocked(
                logger, row.Work.Title, place, (long)took.TotalMilliseconds, Remedy(state), count,
                (long)total.TotalMilliseconds, (long)worst.TotalMilliseconds),
            null);
    }

    private static string Remedy(ThreadState state) => state switch
    {
        ThreadState.WaitsForThread =>
            "It waited for another thread or a time: look for .Result, .Wait(), lock, Thread.Sleep, and await instead",
        ThreadState.WaitsForSystem =>
            "It waited in a call of the system: look for synchronous I/O (files, sockets, a database); await instead",
        ThreadState.Computes =>
            "It computed, or waited for a CPU: move long work out of the request, or await in between",
        _ => "Look for .Result, .Wait(), lock, synchronous I/O and long computing, and await instead",
    };
}
