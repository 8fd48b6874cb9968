// What a channel runs for the application: the rest of an awaited read, flush or accept.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>
/// How long a connection's continuations take: a moving average with a weight of 1/8 for the newest, so that about 16
/// quick ones forget one long one. Written by the thread that runs the continuation, one at a time per direction; a
/// lost update only delays the decision by one.
/// </summary>
/// <param name="home">What its connection lives on; null: nothing that others can be brought to.</param>
/// <param name="work">Whose continuations these are, for whoever asks what keeps a thread.</param>
internal sealed class ContinuationCost(Carried? home = null, IDescribedWork? work = null)
{
    private const int Shift = 3;

    /// <summary>
    /// A connection moves to the pool once it has had this many more flushes from other threads than from its own
    /// continuations.
    /// </summary>
    private const int ElsewhereLimit = 16;

    /// <summary>So many quick runs make up for one that blocked.</summary>
    private const int QuickRunsForgive = 6;

    [ThreadStatic]
    private static ContinuationCost? t_running;

    private Carried? _home = home;
    private long _averageTicks;
    private int _elsewhere;
    private int _unforgiven;

    public IDescribedWork? Work { get; } = work;

    /// <summary>
    /// What is above the connection: the request that it serves now or has served last. A reference that is there
    /// anyway, kept for the watcher; nothing here knows what it is.
    /// </summary>
    public IDescribedWork? Request { get; set; }

    /// <summary>Of the continuation that the calling thread runs. Meaningful on carriers.</summary>
    public static ContinuationCost? Running => t_running;

    public long AverageTicks => Volatile.Read(ref _averageTicks);

    /// <summary>
    /// A run lost its channel or waited for longer than the budget, a short time ago. It keeps others waiting while its
    /// CPU has nothing to do, so it goes elsewhere even where no other core is idle.
    /// </summary>
    public bool Blocks => Volatile.Read(ref _unforgiven) > 0;

    /// <summary>
    /// What the connection lives on whose continuation this thread runs; null where it runs none. Asked only where the
    /// thread carries nothing: a carrier does not forget the last one that it ran.
    /// </summary>
    public static Carried? RunningHome => t_running?._home;

    /// <summary>
    /// Most answers come from other threads than the one that runs this connection's continuations (HTTP/2 streams,
    /// handlers that await): its reads belong where its writes are, or every exchange changes threads twice.
    /// </summary>
    public bool LivesElsewhere => Volatile.Read(ref _elsewhere) > ElsewhereLimit;

    /// <summary>
    /// What it gives to the pool comes back soon, with something to send: HTTP/2 above all. Not what computes or waits.
    /// </summary>
    public bool AnswersSoon(long budgetTicks) => LivesElsewhere && !Blocks && AverageTicks <= budgetTicks;

    /// <summary>Its connection lives there from now on. Who sees that late decides for one run at most.</summary>
    public void MoveTo(Carried home) => Volatile.Write(ref _home, home);

    /// <summary>This thread begins (null: ends) to run a continuation with this cost.</summary>
    public static void SetRunning(ContinuationCost? cost) => t_running = cost;

    /// <summary>
    /// The connection flushes on this thread. At home is in its own continuation, and in any other that its channel's
    /// carrier runs: what goes on there when an outgoing connection of the same channel has its answer.
    /// </summary>
    public void OnFlush()
    {
        int elsewhere = _elsewhere;
        if (!ReferenceEquals(t_running, this) && _home is not { IsCarriedByThisThread: true })
        {
            Volatile.Write(ref _elsewhere, Math.Min(elsewhere + 1, 2 * ElsewhereLimit));
        }
        else if (elsewhere > 0)
        {
            Volatile.Write(ref _elsewhere, elsewhere - 1);
        }
    }

    /// <summary>
    /// One run counts for at most 4 times the budget: a single one that was preempted says nothing about the handler
    /// (it takes three to be offloaded), and a connection that blocked for seconds is back after a dozen quick runs.
    /// </summary>
    public void Add(long ticks, long budgetTicks, bool waited = false)
    {
        if (ticks > budgetTicks)
        {
            if (waited)
            {
                Volatile.Write(ref _unforgiven, QuickRunsForgive);
            }
        }
        else if (_unforgiven is > 0 and int unforgiven)
        {
            Volatile.Write(ref _unforgiven, unforgiven - 1);
        }

        long average = _averageTicks;
        ticks = Math.Min(ticks, budgetTicks << 2);
        Volatile.Write(ref _averageTicks, average + ((ticks - average) >> Shift));
    }

    /// <summary>
    /// The run lost its channel. One is enough to be offloaded, or every new connection of a handler that blocks would
    /// stop its channel three times; half a dozen quick runs on the pool bring it back.
    /// </summary>
    public void AddHandOver(long ticks, long budgetTicks)
    {
        if (ticks > budgetTicks)
        {
            Volatile.Write(ref _unforgiven, QuickRunsForgive);
        }

        Volatile.Write(ref _averageTicks, Math.Max(_averageTicks, Math.Min(ticks, budgetTicks << 1)));
    }

    /// <summary>
    /// Near the budget or above it what a run is charged decides where the next ones run: it is worth an exact clock.
    /// </summary>
    public bool WantsExactClock(long budgetTicks) => AverageTicks > budgetTicks >> 1;

    /// <summary>For a run that begins now, on this thread.</summary>
    public HandlerClock StartClock(long budgetTicks) =>
        WantsExactClock(budgetTicks) ? HandlerClock.StartExact() : HandlerClock.Start();

    /// <summary>The run took so long by the clock on the wall; what it is charged with.</summary>
    public long Add(long ticks, long budgetTicks, ref HandlerClock clock)
    {
        bool waited = false;
        if (ticks > budgetTicks)
        {
            ticks = clock.Take(ticks, out waited);
        }

        Add(ticks, budgetTicks, waited);
        return ticks;
    }
}

/// <summary>One awaited operation of the application, resumed by a channel. Reused for the connection's life.</summary>
internal abstract class Continuation : IThreadPoolWorkItem
{
    protected Continuation(ContinuationCost cost, ChannelScheduling scheduling)
    {
        Cost = cost;
        Scheduling = scheduling;
    }

    public ContinuationCost Cost { get; }

    public ChannelScheduling Scheduling { get; }

    /// <summary>Resumes the application. Never throws: what the application throws, its own task keeps.</summary>
    public abstract void Run();

    /// <summary>Offloaded: on a pool thread, measured too, so that a connection can come back to its carrier.</summary>
    void IThreadPoolWorkItem.Execute()
    {
        if (!Scheduling.Adaptive)
        {
            ContinuationCost.SetRunning(Cost);
            Run();
            ContinuationCost.SetRunning(null);
            return;
        }

        ref HandlerClock clock = ref HandlerClock.OfThisThread;
        long start = Stopwatch.GetTimestamp();
        clock.Freshen(start);
        if (Cost.WantsExactClock(Scheduling.BudgetTicks))
        {
            clock = HandlerClock.StartExact();
        }

        ContinuationCost.SetRunning(Cost);
        Run();
        ContinuationCost.SetRunning(null);
        Cost.Add(Stopwatch.GetTimestamp() - start, Scheduling.BudgetTicks, ref clock);
    }
}
