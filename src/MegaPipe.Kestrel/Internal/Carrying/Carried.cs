// What a carrier carries, and where continuations run.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>
/// A loop with continuations in it that goes from carrier to carrier: a channel, as far as carriers and the watcher
/// know one. Of the ring they know that somebody waits for it, and that it can be woken.
/// </summary>
internal abstract class Carried
{
    /// <summary>Continuations that a turn has room for at first.</summary>
    private const int ReadyCapacity = 256;

    [ThreadStatic]
    private static Carried? t_carried;

    [ThreadStatic]
    private static long t_epoch;

    private readonly int _performAfter;
    private Turn _turn;
    private volatile bool _ended;

    private bool _abandoned;

    // Written by the carrier around its wait for events.
    private bool _waiting;

    // The continuations of this turn, from _readyNext to _readyEnd.
    private Continuation?[] _ready = new Continuation?[ReadyCapacity];
    private int _readyNext;
    private int _readyEnd;

    private volatile int[] _cpus;

    // Of the carrier: when it last took over, and until when it runs nothing of the application.
    private long _lastHandOver = long.MinValue / 2;
    private long _retreatUntil;

    // Counts continuations, so that the watcher can tell one long one from many short ones.
    private long _runs;

    // Of the present carrier's thread, for whoever looks why it is stuck.
    private int _threadId;

    /// <param name="index">The number that tells it from others in measurements.</param>
    /// <param name="scheduling">Where continuations run.</param>
    /// <param name="performAfter">Continuations after which their work is performed.</param>
    /// <param name="cpu">The CPU that its carriers are bound to, or -1.</param>
    protected Carried(int index, ChannelScheduling scheduling, int performAfter, int cpu)
    {
        Index = index;
        Scheduling = scheduling;
        _cpus = cpu < 0 ? [] : [cpu];
        _performAfter = performAfter;
        Records = new ChannelRecords(index);
    }

    public int Index { get; }

    /// <summary>The CPUs that its carriers are bound to; none: all of the process.</summary>
    public int[] Cpus => _cpus;

    public ChannelScheduling Scheduling { get; }

    /// <summary>What the carrier has measured for the meter and not told yet.</summary>
    protected ChannelRecords Records { get; }

    /// <summary>How long its turns take. The carrier writes it where channels are balanced.</summary>
    public TurnClock Clock { get; } = new();

    /// <summary>
    /// Its carrier is stuck in application code and there is no other one for it. Written by the watcher. Any thread.
    /// </summary>
    public bool IsAbandoned
    {
        get => Volatile.Read(ref _abandoned);
        internal set => Volatile.Write(ref _abandoned, value);
    }

    public long OffloadedCount;

    public long InlineCount;

    /// <summary>Turns with continuations, and stopwatch ticks that these took together. Adaptive only.</summary>
    public long TurnCount;

    public long TurnTicks;

    /// <summary>Ticks that continuations waited behind others of their turn, added up.</summary>
    public long DelayTicks;

    /// <summary>Turns in which somebody waited longer than is meant to be (QueueDelayTicks).</summary>
    public long LongTurnCount;

    /// <summary>Ticks that the channel stood still before it was taken from a stuck carrier. Of the watcher.</summary>
    public long StalledTicks;

    /// <summary>Who is told of carriers that are stuck. Set before the first turn.</summary>
    internal BlockingTable? Blocking { get; set; }

    /// <summary>The loop has ended, or is about to. Any thread.</summary>
    public bool HasEnded => _ended;

    /// <summary>Whether something waits to be performed. Any thread.</summary>
    public abstract bool HasWork { get; }

    /// <summary>What this thread carries, or has carried and lost in the continuation that it runs.</summary>
    internal static Carried? OfThisThread => t_carried;

    /// <summary>
    /// What the code that this thread runs belongs to: what it carries, or has carried until its handler got stuck; on
    /// the thread pool what the connection lives on whose continuation was offloaded there. null elsewhere.
    /// </summary>
    public static Carried? Current => t_carried ?? ContinuationCost.RunningHome;

    /// <summary>
    /// Whether a core could run what has waited too long behind this channel's other continuations. Tests replace the
    /// answer of the process.
    /// </summary>
    internal Func<bool> HasIdleCore { get; init; } = CarrierPool.Instance.HasIdleCore;

    /// <summary>The carrier sleeps, or is about to, until the kernel has events. Any thread.</summary>
    public bool IsWaiting
    {
        get => Volatile.Read(ref _waiting);
        protected set => Volatile.Write(ref _waiting, value);
    }

    /// <summary>
    /// The carrier has no work and keeps its CPU for a moment all the same, which is no idle one then. Any thread.
    /// </summary>
    public virtual bool IsSpinning => false;

    /// <summary>Whether the calling thread is inside a continuation that this channel's present carrier runs.</summary>
    internal bool IsCarriedByThisThread =>
        ReferenceEquals(t_carried, this) && _turn.Epoch == t_epoch;

    /// <summary>Times that the channel was given to another carrier. Any thread.</summary>
    internal long HandOvers => _turn.Epoch;

    /// <summary>Continuations started so far. Any thread.</summary>
    internal long Runs => Volatile.Read(ref _runs);

    /// <summary>The epoch in which a carrier is in application code now, or -1. Any thread.</summary>
    internal long EpochInApplication => _turn.EpochInApplication;

    /// <summary>
    /// The watcher, before it takes the channel away: the table learns what runs since <paramref name="since"/>. What
    /// runs is read without a lock, and is right if the channel can be taken from this epoch afterwards.
    /// </summary>
    internal StuckTurn? BeginStuck(long epoch, long since)
    {
        if (Blocking is not { Enabled: true } table)
        {
            return null;
        }

        Continuation?[] ready = _ready;
        int running = _readyNext - 1;
        ContinuationCost? cost = (uint)running < (uint)ready.Length ? ready[running]?.Cost : null;
        return table.Begin(this, Index, epoch, cost?.Work, _threadId, since);
    }

    /// <summary>Whose continuation runs now, or a moment ago; null: none. Any thread, without a lock.</summary>
    internal IDescribedWork? RunningWork
    {
        get
        {
            Continuation?[] ready = Volatile.Read(ref _ready);
            int running = Volatile.Read(ref _readyNext) - 1;
            return (uint)running < (uint)ready.Length ? Volatile.Read(ref ready[running])?.Cost.Work : null;
        }
    }

    /// <summary>
    /// The thread that has lost its channel, still in the continuation: now it is known for sure what it was.
    /// </summary>
    internal void TellStuck(WorkDescription work) => Blocking?.Tell(this, t_epoch, work);

    /// <summary>Whether no continuation is ready.</summary>
    protected bool NothingReady => _readyNext == _readyEnd;

    /// <summary>For the carrier: continuations of this turn are still to run.</summary>
    internal bool HasReady => !NothingReady;

    /// <summary>
    /// For a continuation that blocks until another channel has done something: two carriers may wait for each other
    /// so, and where nobody takes their channels over, each goes on doing what is asked of its own.
    /// </summary>
    public static void PerformOwnWork()
    {
        if (t_carried is { } own && own.TryEnterRing())
        {
            own.PerformWork();
            own.LeaveRing();
        }
    }

    /// <summary>Any thread: ends the wait for events.</summary>
    public abstract void Wake();

    /// <summary>
    /// Goes on with the loop until it is over (true) or was taken away (false: <paramref name="epoch"/> has ended).
    /// </summary>
    internal abstract bool Carry(long epoch);

    /// <summary>By the carrier to which Carry returned true.</summary>
    internal abstract void Close();

    /// <summary>The carrier: does what was asked for.</summary>
    protected abstract void PerformWork();

    /// <summary>The carrier: what the pool is given now soon asks for the channel.</summary>
    internal abstract void NotePoolWork();

    /// <summary>From here on nothing is resumed on a carrier.</summary>
    protected void MarkEnded() => _ended = true;

    /// <summary>Makes the calling thread the carrier of <paramref name="epoch"/>.</summary>
    internal void Board(long epoch)
    {
        t_carried = this;
        t_epoch = epoch;
        CarrierThread.Remember();
        _threadId = CarrierThread.Id;
        ContinuationCost.SetRunning(null);
        if (epoch > 0)
        {
            NoteHandOver(Stopwatch.GetTimestamp());
        }

        BindToCpus();
    }

    /// <summary>Any thread: its carriers are bound to other CPUs; the present one from its next turn on.</summary>
    protected void SetCpus(int[] cpus) => _cpus = cpus;

    /// <summary>The carrier.</summary>
    protected void BindToCpus()
    {
        if (_cpus is { Length: > 0 } cpus)
        {
            CpuAffinity.TrySet(cpus);
        }
        else
        {
            CpuAffinity.Clear();
        }
    }

    internal static void Leave() => t_carried = null;

    /// <summary>One blocked handler costs one hand-over. Many, one behind the other, retreat to the pool.</summary>
    private void NoteHandOver(long now)
    {
        if (now - _lastHandOver < Scheduling.RetreatTicks)
        {
            _retreatUntil = now + Scheduling.RetreatTicks;
        }

        _lastHandOver = now;
    }

    private bool IsRetreating(long now) => now < _retreatUntil;

    /// <summary>
    /// The watcher: ends <paramref name="epoch"/> if its carrier still is in application code. The next carrier's
    /// epoch, or -1.
    /// </summary>
    internal long TryTakeAway(long epoch) => _turn.TryTakeAway(epoch);

    /// <summary>
    /// Lets a continuation on this channel's carrier use the ring itself, with the watcher kept away until
    /// <see cref="LeaveRing"/>. false on any other thread.
    /// </summary>
    internal bool TryEnterRing()
    {
        if (!ReferenceEquals(t_carried, this))
        {
            return false;
        }

        return !Scheduling.HandsOver || _turn.TryLeave(t_epoch);
    }

    internal void LeaveRing()
    {
        if (Scheduling.HandsOver)
        {
            _turn.Enter(t_epoch);
        }
    }

    /// <summary>The carrier: has a continuation run, where its cost says. It became ready in this turn.</summary>
    internal void Schedule(Continuation continuation)
    {
        if (!Scheduling.OnCarrier || _ended)
        {
            ThreadPool.UnsafeQueueUserWorkItem(continuation, preferLocal: false);
            return;
        }

        if (Scheduling.Adaptive && BelongsOnThePool(continuation.Cost))
        {
            Offload(continuation);
            return;
        }

        if (_readyEnd == _ready.Length)
        {
            Array.Resize(ref _ready, _ready.Length * 2);
        }

        _ready[_readyEnd++] = continuation;
    }

    /// <summary>
    /// What computes for long leaves only for a core that has nothing to do: where there is none, the hop would cost
    /// time and nobody would be served earlier.
    /// </summary>
    private bool BelongsOnThePool(ContinuationCost cost) =>
        cost.Blocks || cost.LivesElsewhere || (cost.AverageTicks > Scheduling.BudgetTicks && HasIdleCore()) ||
        (_retreatUntil != 0 && IsRetreating(Stopwatch.GetTimestamp())) ||
        CarrierPool.Instance.IsExhausted(Scheduling.MaxCarriers);

    private void Offload(Continuation continuation)
    {
        OffloadedCount++;
        if (continuation.Cost.AnswersSoon(Scheduling.BudgetTicks))
        {
            NotePoolWork();
        }

        ThreadPool.UnsafeQueueUserWorkItem(continuation, preferLocal: false);
        CarrierWatcher.Instance.Attend(); // it sees whether the pool is stuck
    }

    /// <summary>Runs the turn's continuations. false when the channel was taken away meanwhile.</summary>
    internal bool RunReady(long epoch)
    {
        if (_readyNext == _readyEnd)
        {
            return true;
        }

        bool adaptive = Scheduling.Adaptive;
        bool timed = Scheduling.Balanced;
        long start = adaptive || timed ? Stopwatch.GetTimestamp() : 0;
        if (timed)
        {
            Clock.Begin(start);
        }

        ref HandlerClock clock = ref HandlerClock.OfThisThread;
        if (adaptive)
        {
            clock.Freshen(start);
        }

        long turnStart = start;
        long queueDelayEnd = start + Scheduling.QueueDelayTicks;
        long delay = 0;
        int unperformed = 0;
        while (_readyNext < _readyEnd)
        {
            // Stays in its place while it runs: the watcher may ask what it is.
            Continuation continuation = _ready[_readyNext++]!;
            if (adaptive && (CarrierPool.Instance.IsExhausted(Scheduling.MaxCarriers) ||
                IsRetreating(start) || (start > queueDelayEnd && HasIdleCore())))
            {
                Offload(continuation);
                continue;
            }

            InlineCount++;
            if (!adaptive)
            {
                if (!RunInline(continuation, epoch))
                {
                    return false;
                }
            }
            else
            {
                delay += start - turnStart;
                EnterApplication(epoch);
                if (clock.IsExact || continuation.Cost.WantsExactClock(Scheduling.BudgetTicks))
                {
                    clock = continuation.Cost.StartClock(Scheduling.BudgetTicks);
                }

                ContinuationCost.SetRunning(continuation.Cost);
                continuation.Run();
                CarrierThread.Clean();
                long end = Stopwatch.GetTimestamp();
                long took = continuation.Cost.Add(end - start, Scheduling.BudgetTicks, ref clock);
                if (!_turn.TryLeave(epoch))
                {
                    continuation.Cost.AddHandOver(took, Scheduling.BudgetTicks);
                    Blocking?.End(this, epoch, took);
                    MegaPipeMetrics.RecordCarrierTime(Index, end - start); // the records are another carrier's now
                    return false;
                }

                if (MegaPipeMetrics.CarrierTimeObserved)
                {
                    Records.AddContinuation(end - start);
                }

                start = end;
            }

            // A batch that becomes full by this goes to the kernel, which starts on the answers while the rest runs.
            if (++unperformed == _performAfter && _readyNext < _readyEnd)
            {
                unperformed = 0;
                PerformWork();
                start = adaptive ? Stopwatch.GetTimestamp() : 0; // the next continuation did not cost this
            }
        }

        if (timed)
        {
            Clock.End(adaptive ? start : Stopwatch.GetTimestamp());
        }

        Array.Clear(_ready, 0, _readyEnd);
        _readyNext = _readyEnd = 0;
        if (adaptive)
        {
            EndTurn(turnStart, start, delay);
        }

        return true;
    }

    /// <summary>Without a look at what it costs. false when the channel was taken away meanwhile.</summary>
    private bool RunInline(Continuation continuation, long epoch)
    {
        if (Scheduling.HandsOver)
        {
            EnterApplication(epoch);
        }

        continuation.Run();
        CarrierThread.Clean();
        return !Scheduling.HandsOver || _turn.TryLeave(epoch);
    }

    /// <summary>From here on the watcher may take the channel.</summary>
    private void EnterApplication(long epoch)
    {
        Volatile.Write(ref _runs, _runs + 1);
        _turn.Enter(epoch);
        CarrierWatcher.Instance.Attend(); // after the turn is written: pairs with the watcher's way to sleep
    }

    private void EndTurn(long start, long end, long delay)
    {
        TurnCount++;
        TurnTicks += end - start;
        DelayTicks += delay;
        if (end - start > Scheduling.QueueDelayTicks)
        {
            LongTurnCount++;
        }

        if (MegaPipeMetrics.TurnsObserved)
        {
            Records.AddTurn(end - start);
        }
    }
}
