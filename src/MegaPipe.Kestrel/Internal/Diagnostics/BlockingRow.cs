// An endpoint that kept threads: how often, for how long, whose channels.
using System.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>Written rarely and by threads that have just been stuck: a lock does.</summary>
internal sealed class BlockingRow(WorkDescription work)
{
    /// <summary>In the place of a channel: a thread of the pool.</summary>
    public const int Pool = -1;

    private readonly Lock _sync = new();
    private readonly SortedDictionary<int, long> _channels = [];
    private readonly long[] _states = new long[Enum.GetValues<ThreadState>().Length];
    private long _count;
    private long _onPool;
    private long _ticks;
    private long _worstTicks;
    private DateTimeOffset _last;

    public WorkDescription Work { get; } = work;

    /// <summary>For the warnings alone: when the last one was given, in milliseconds; 0: never.</summary>
    public long WarnedAt;

    public void Add(long ticks, int channel, ThreadState state, bool isNew)
    {
        lock (_sync)
        {
            if (isNew)
            {
                AddCount(channel, state);
            }

            _ticks += ticks;
            _worstTicks = Math.Max(_worstTicks, ticks);
            _last = DateTimeOffset.UtcNow;
        }
    }

    /// <summary>One that has not come back: its time is added when it does.</summary>
    public void AddStuck(int channel, ThreadState state)
    {
        lock (_sync)
        {
            AddCount(channel, state);
            _last = DateTimeOffset.UtcNow;
        }
    }

    public (long Count, TimeSpan Total, TimeSpan Worst) Sums()
    {
        lock (_sync)
        {
            return (_count, Time(_ticks), Time(_worstTicks));
        }
    }

    public MegaPipeBlockedEndpoint Report(IEnumerable<StuckWork> stuck, long now)
    {
        int[] threads = [];
        int count = 0;
        long longest = 0;
        foreach (StuckWork work in stuck)
        {
            count++;
            threads = [.. threads, work.ThreadId];
            longest = Math.Max(longest, now - work.Since);
        }

        lock (_sync)
        {
            return new MegaPipeBlockedEndpoint(Work.Title, Work.Protocol, Work.Method, Work.Route, Work.Name)
            {
                Count = _count,
                OnPool = _onPool,
                HandOversByChannel = new Dictionary<int, long>(_channels),
                Total = Time(_ticks),
                Worst = Time(Math.Max(_worstTicks, longest)),
                StuckNow = count,
                LongestNow = Time(longest),
                Threads = threads,
                Cause = Cause(),
                Last = _last,
            };
        }
    }

    private void AddCount(int channel, ThreadState state)
    {
        _count++;
        _states[(int)state]++;
        if (channel == Pool)
        {
            _onPool++;
        }
        else
        {
            _channels[channel] = _channels.GetValueOrDefault(channel) + 1;
        }
    }

    /// <summary>What was found most often, of what was found at all.</summary>
    private MegaPipeBlockingCause Cause()
    {
        int most = 0;
        for (int state = 1; state < (int)ThreadState.Waits; state++)
        {
            most = _states[state] > (most == 0 ? 0 : _states[most]) ? state : most;
        }

        return (ThreadState)most switch
        {
            ThreadState.WaitsForThread => MegaPipeBlockingCause.Wait,
            ThreadState.WaitsForSystem => MegaPipeBlockingCause.SynchronousIO,
            ThreadState.Computes => MegaPipeBlockingCause.Computing,
            _ => MegaPipeBlockingCause.Unknown,
        };
    }

    private static TimeSpan Time(long ticks) => Stopwatch.GetElapsedTime(0, ticks);
}
