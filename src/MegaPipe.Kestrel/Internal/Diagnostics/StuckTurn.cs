// A turn whose channel was taken away and whose thread has not come back.
using System.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>Something that keeps a thread at this moment.</summary>
/// <param name="Work">What it is.</param>
/// <param name="Channel">The channel whose thread that was, or <see cref="BlockingRow.Pool"/>.</param>
/// <param name="ThreadId">The thread's number in the system; 0: unknown.</param>
/// <param name="Since">Stopwatch ticks.</param>
internal readonly record struct StuckWork(WorkDescription Work, int Channel, int ThreadId, long Since);

/// <summary>From the hand-over to the thread's return.</summary>
internal sealed class StuckTurn : IDisposable
{
    /// <summary>From so many hand-over times on a turn counts that nobody has looked at.</summary>
    private const int UnseenFactor = 10;

    private readonly BlockingTable _table;
    private readonly IDescribedWork? _source;
    private readonly Lock _sync = new();
    private Timer? _timer;
    private bool _over;
    private Before? _before;

    private sealed record Before(long Ran, long Queued, long At);

    public StuckTurn(
        BlockingTable table, (object Channel, long Epoch) key, IDescribedWork? source, int channel, int threadId,
        long since)
    {
        _source = source;
        _table = table;
        Key = key;
        Work = source?.Describe() ?? new WorkDescription("transport", null, null, "work of no connection");
        Channel = channel;
        ThreadId = threadId;
        Since = since;
    }

    public (object Channel, long Epoch) Key { get; }

    public WorkDescription Work { get; set; }

    public int Channel { get; }

    /// <summary>The thread's number in the system; 0: unknown.</summary>
    public int ThreadId { get; }

    /// <summary>Stopwatch ticks; at most one look of the watcher after the continuation began.</summary>
    public long Since { get; }

    public ThreadState State { get; private set; }

    /// <summary>It was counted while it was stuck.</summary>
    public bool IsCounted { get; private set; }

    /// <summary>
    /// The stuck thread, when it is back after <paramref name="ticks"/>: those of them that the application is to blame
    /// for. Whether it waited or computed is known better now than by the one look at it.
    /// </summary>
    public long Settle(long ticks)
    {
        if (ThreadId == 0)
        {
            return ticks; // nothing can be known
        }

        if (_before is not { } before || ThreadProbe.ReadTimes(ThreadId) is not { } now)
        {
            // Back before the watcher could look, which may have lacked a CPU as well as the thread.
            return State == ThreadState.Unknown && ticks < UnseenFactor * _table.HandOverTicks ? 0 : ticks;
        }

        long queued = Math.Max(0, now.Queued - before.Queued);
        long ran = now.Ran - before.Ran;
        long left = Stopwatch.GetTimestamp() - before.At - queued;
        ticks -= queued;
        if (State != ThreadState.Computes)
        {
            // Seen to wait: for a moment only, if it ran for most of the time.
            State = ran > ticks / 2 ? ThreadState.Computes : State;
        }
        else if (left >= _table.HandOverTicks && ran < left / 2)
        {
            State = ThreadState.Waits; // seen to run: for a moment only
        }

        if (left < _table.HandOverTicks && ticks >= UnseenFactor * _table.HandOverTicks)
        {
            return ticks; // looked at too late to tell
        }

        // Until it was looked at it may as well have lacked a CPU, but for the time that made it suspicious.
        return State == ThreadState.Computes ? Math.Min(ticks, ran + (2 * _table.HandOverTicks)) : ticks;
    }

    /// <summary>The watcher: the channel is gone, so there is time to look at the thread.</summary>
    public void Confirm()
    {
        if (ThreadProbe.ReadTimes(ThreadId) is { } times)
        {
            _before = new Before(times.Ran, times.Queued, Stopwatch.GetTimestamp());
        }

        State = ThreadProbe.Read(ThreadId);
        MegaPipeEventSource.Log.HandOver(Channel, ThreadId, Work.Title);
        lock (_sync)
        {
            if (!_over)
            {
                _timer = new Timer(static turn => ((StuckTurn)turn!).OnTimer(), this, BlockingTable.StuckAfter,
                    Timeout.InfiniteTimeSpan);
            }
        }
    }

    /// <summary>While it is stuck: the request may have been routed since it was asked first.</summary>
    public void Refresh()
    {
        if (Work.Route is null && !IsCounted && _source?.Describe() is { Route: not null } known)
        {
            Work = known;
        }
    }

    /// <summary>The watcher: the carrier came back in time.</summary>
    public void Withdraw() => _table.Withdraw(this);

    public void Dispose()
    {
        lock (_sync)
        {
            _over = true;
            _timer?.Dispose();
        }
    }

    private void OnTimer()
    {
        lock (_sync)
        {
            if (_over)
            {
                return;
            }

            Refresh();
            IsCounted = true;
            State = ThreadProbe.Read(ThreadId);
            _table.OnStillStuck(this);
        }
    }
}
