// Who kept a thread of the transport: one row for each endpoint of the application.
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>
/// A host's table. Nothing is written here while nothing is stuck: a row is made at a hand-over, or when a request has
/// kept its thread for long.
/// </summary>
internal sealed class BlockingTable(ILogger logger, TimeSpan handOverAfter)
{
    /// <summary>Endpoints with a row of their own; the rest share the last one. An app has some dozens.</summary>
    internal const int MaxRows = 256;

    /// <summary>
    /// A thread that was found running may only have lacked a CPU: it counts from so many hand-over times on. Slices of
    /// the kernel's scheduler are about 3 ms.
    /// </summary>
    internal const int DoubtFactor = 4;

    /// <summary>What is stuck for so long is counted and said before it comes back: it may never do so.</summary>
    internal static readonly TimeSpan StuckAfter = TimeSpan.FromSeconds(1);

    private static readonly WorkDescription s_others = new("any", null, null, "all other endpoints");

    private readonly ConcurrentDictionary<(object Channel, long Epoch), StuckTurn> _stuck = new();
    private readonly ConcurrentDictionary<WorkDescription, BlockingRow> _rows = new();
    private readonly BlockingWarnings _warnings = new(logger, handOverAfter);

    public long HandOverTicks { get; } = Ticks(handOverAfter);

    /// <summary>Off, or MegaPipe does not serve: nothing is described, and no request is timed.</summary>
    public bool Enabled { get; set; }

    /// <summary>Who keeps a thread that no watcher looks at, since a time in ticks.</summary>
    public Func<long, IEnumerable<StuckWork>> FindOthers { private get; set; } = static _ => [];

    /// <summary>A request that kept a pool thread for fewer ticks is not counted.</summary>
    public long DoubtTicks { get; } = Ticks(handOverAfter) * DoubtFactor;

    /// <summary>
    /// The watcher, before it takes the channel from the carrier of this epoch: from here on <see cref="End"/> finds
    /// the turn.
    /// </summary>
    public StuckTurn Begin(object channel, int index, long epoch, IDescribedWork? work, int threadId, long since)
    {
        StuckTurn turn = new(this, (channel, epoch), work, index, threadId, since);
        _stuck[turn.Key] = turn;
        return turn;
    }

    /// <summary>The carrier came back in time.</summary>
    public void Withdraw(StuckTurn turn) => _stuck.TryRemove(turn.Key, out _);

    /// <summary>
    /// The stuck thread's own word. The watcher may have looked before the request was routed; where it saw a route,
    /// this may be a later request of the same connection.
    /// </summary>
    public void Tell(object channel, long epoch, WorkDescription work)
    {
        if (_stuck.TryGetValue((channel, epoch), out StuckTurn? turn) && turn.Work.Route is null && !turn.IsCounted)
        {
            turn.Work = work;
        }
    }

    /// <summary>
    /// The thread that has lost its channel, back from the application after <paramref name="ticks"/> of the handler's
    /// own time.
    /// </summary>
    public void End(object channel, long epoch, long ticks)
    {
        if (!_stuck.TryRemove((channel, epoch), out StuckTurn? turn))
        {
            return;
        }

        turn.Dispose();
        ticks = turn.Settle(ticks);
        bool waited = turn.State is ThreadState.WaitsForSystem or ThreadState.WaitsForThread or ThreadState.Waits;
        long least = waited ? HandOverTicks : DoubtTicks;
        if (ticks >= least || turn.IsCounted)
        {
            BlockingRow row = Row(turn.Work);
            row.Add(ticks, turn.Channel, turn.State, isNew: !turn.IsCounted);
            Tell(row, turn.Work, turn.Channel, ticks, turn.State);
        }
    }

    /// <summary>A request that kept a thread of the pool.</summary>
    public void Add(WorkDescription work, long ticks)
    {
        BlockingRow row = Row(work);
        row.Add(ticks, BlockingRow.Pool, ThreadState.Unknown, isNew: true);
        Tell(row, work, BlockingRow.Pool, ticks, ThreadState.Unknown);
    }

    public IReadOnlyList<MegaPipeBlockedEndpoint> Report()
    {
        long now = Stopwatch.GetTimestamp();
        ILookup<WorkDescription, StuckWork> stuck = _stuck.Values
            .Where(turn => now - turn.Since >= HandOverTicks)
            .Select(turn =>
            {
                turn.Refresh();
                return new StuckWork(turn.Work, turn.Channel, turn.ThreadId, turn.Since);
            })
            .Concat(FindOthers(now - DoubtTicks)).ToLookup(work => work.Work);
        return
        [
            .. _rows.Values.Select(row => row.Report(stuck[row.Work], now))
                .Concat(stuck.Where(turns => !_rows.ContainsKey(turns.Key))
                    .Select(turns => new BlockingRow(turns.Key).Report(turns, now)))
                .OrderByDescending(row => row.Total + row.LongestNow),
        ];
    }

    /// <summary>A turn is stuck for <see cref="StuckAfter"/>.</summary>
    internal void OnStillStuck(StuckTurn turn)
    {
        BlockingRow row = Row(turn.Work);
        row.AddStuck(turn.Channel, turn.State);
        _warnings.Say(row, turn.Channel, Stopwatch.GetTimestamp() - turn.Since, turn.State);
    }

    /// <summary>Listeners are the application's, and this may be a carrier: what they throw ends nothing.</summary>
    [SuppressMessage("Design", "CA1031", Justification = "See above.")]
    private void Tell(BlockingRow row, WorkDescription work, int channel, long ticks, ThreadState state)
    {
        try
        {
            MegaPipeMetrics.RecordBlocked(work, channel, ticks);
            BlockingActivity.Add(work, channel, ticks, state);
            MegaPipeEventSource.Log.Blocked(work.Title, channel, Stopwatch.GetElapsedTime(0, ticks).TotalMilliseconds);
        }
        catch (Exception)
        {
        }

        _warnings.Say(row, channel, ticks, state);
    }

    private BlockingRow Row(WorkDescription work)
    {
        if (_rows.TryGetValue(work, out BlockingRow? row))
        {
            return row;
        }

        WorkDescription key = _rows.Count < MaxRows ? work : s_others;
        return _rows.GetOrAdd(key, static key => new BlockingRow(key));
    }

    private static long Ticks(TimeSpan time) => (long)(time.TotalSeconds * Stopwatch.Frequency);
}
