// Sees a thread pool whose threads are all stuck in application code, and makes it grow. Kestrel starts connections on
// the pool, handlers that await go on there, and what is offloaded runs there; by itself the pool adds about two
// threads a second.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>The thread pool, as far as its guard needs it.</summary>
internal interface IGuardedPool
{
    /// <summary>Work that no thread has taken yet.</summary>
    long PendingCount { get; }

    int ThreadCount { get; }

    /// <summary>Up to so many threads the pool starts without delay.</summary>
    int MinThreads { get; }

    /// <summary>What it may have, and what the system has threads for.</summary>
    int MaxThreads { get; }

    bool TrySetMinThreads(int count);

    /// <summary>
    /// Whether so many pool threads run or wait for a CPU, as opposed to those that wait for something else.
    /// </summary>
    bool CanRun(int count);

    /// <summary>Behind all work that is queued now.</summary>
    void Queue(IThreadPoolWorkItem item);
}

/// <summary>
/// A marker in the pool's queue tells how late the pool is: what a new connection would wait. A marker that is late
/// while fewer pool threads than CPUs can run means that the others are stuck, and the pool's minimum is raised. Not
/// raised is it for a pool that is merely busy: more threads would not make it quicker. For the watcher thread.
/// </summary>
internal sealed class PoolGuard(IGuardedPool pool, int processors)
{
    /// <summary>So long must the pool keep up before the threads are given back.</summary>
    internal static readonly TimeSpan GiveBackAfter = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Threads that are granted at once when the pool is small: what a burst of blocking handlers usually needs, and
    /// cheap, since an idle pool thread ends after 20 s.
    /// </summary>
    private const int FirstStep = 64;

    private readonly Marker _marker = new();
    private long _markedAt;
    private bool _marked;
    private bool _wasLate;
    private long _keptUpSince;

    /// <summary>The minimum that the guard has set, and the one that it found; 0: the pool is untouched.</summary>
    private int _raisedTo;
    private int _found;

    /// <summary>Whether work waits for the runtime's pool. Any thread.</summary>
    public static bool HasWork => ThreadPool.PendingWorkItemCount > 0;

    /// <summary>Whether the pool's minimum is higher than the process has set it.</summary>
    public bool Raised => _raisedTo != 0;

    /// <summary>At the last look the pool was late: the next one should come soon.</summary>
    public bool IsLate => _marked && _wasLate;

    /// <summary>Times that the minimum was raised. Any thread.</summary>
    public long GrowCount;

    /// <summary>
    /// One look. A marker is late after <paramref name="lateTicks"/>. true: one is under way, look again.
    /// </summary>
    public bool Look(long now, long lateTicks, int maxThreads)
    {
        if (_marked && _marker.HasRun)
        {
            _marked = false;
            _wasLate = false;
        }

        if (_marked && now - _markedAt >= lateTicks)
        {
            _keptUpSince = now;
            // Late at two looks: one may come right after a collection or a time without a CPU. Not while the pool
            // still starts what the last look granted. New threads take a moment to be stuck, too: they can run.
            if (_wasLate && pool.ThreadCount >= _raisedTo && !pool.CanRun(processors))
            {
                Grow(maxThreads);
            }

            _wasLate = true;
            return true;
        }

        if (!_marked && maxThreads > 0 && pool.PendingCount > 0)
        {
            _marked = true;
            _markedAt = now;
            _marker.HasRun = false;
            pool.Queue(_marker);
        }

        if (!_marked && Raised && now - _keptUpSince >= GiveBackAfter.TotalSeconds * Stopwatch.Frequency)
        {
            GiveBack();
        }

        return _marked;
    }

    /// <summary>No more than there is work, and beyond the first few at most twice as many as there are.</summary>
    private void Grow(int maxThreads)
    {
        int threads = pool.ThreadCount;
        int minimum = pool.MinThreads;
        if (minimum != _raisedTo)
        {
            _found = minimum; // the process has set it, now or from the start
        }

        long more = Math.Clamp(pool.PendingCount, 1, Math.Max(threads, FirstStep));
        int target = (int)Math.Min(Math.Max(threads, minimum) + more, Math.Min(maxThreads, pool.MaxThreads));
        if (target > minimum && pool.TrySetMinThreads(target))
        {
            _raisedTo = target;
            Interlocked.Increment(ref GrowCount);
            MegaPipeEventSource.Log.PoolGrown(target);
        }
    }

    private void GiveBack()
    {
        if (pool.MinThreads == _raisedTo)
        {
            pool.TrySetMinThreads(_found);
        }

        _raisedTo = 0;
    }

    private sealed class Marker : IThreadPoolWorkItem
    {
        private volatile bool _hasRun;

        public bool HasRun
        {
            get => _hasRun;
            set => _hasRun = value;
        }

        void IThreadPoolWorkItem.Execute() => _hasRun = true;
    }
}
