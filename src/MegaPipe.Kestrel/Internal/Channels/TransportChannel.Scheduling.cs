// Who carries the channel, and where continuations run.
//
// `_turn` is the one word that decides: an epoch, which grows by one with each hand-over, and whether the carrier of
// that epoch is in application code. Only then can the watcher take the channel, by a compare-and-swap from exactly
// that word; the carrier, back from the application, makes the same exchange the other way. One of them wins.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Channels;

internal sealed partial class TransportChannel
{
    private const long InApplication = 1;

    [ThreadStatic]
    private static TransportChannel? t_carried;

    [ThreadStatic]
    private static long t_epoch;

    // epoch << 1 | InApplication
    private long _turn;

    // Written by the carrier around its wait for events.
    private bool _waiting;

    // Of the carrier: when it last took over, and until when it runs nothing of the application.
    private long _lastHandOver = long.MinValue / 2;
    private long _retreatUntil;

    // Counts continuations, so that the watcher can tell one long one from many short ones.
    private long _runs;

    /// <summary>
    /// Whether a core could run what has waited too long behind this channel's other continuations. Tests replace the
    /// answer of the process.
    /// </summary>
    internal Func<bool> HasIdleCore { get; init; } = CarrierPool.Instance.HasIdleCore;

    /// <summary>The carrier sleeps, or is about to, until the kernel has events. Any thread.</summary>
    internal bool IsWaiting => Volatile.Read(ref _waiting);

    /// <summary>Whether the calling thread is inside a continuation that this channel's present carrier runs.</summary>
    internal bool IsCarriedByThisThread =>
        ReferenceEquals(t_carried, this) && Volatile.Read(ref _turn) >> 1 == t_epoch;

    /// <summary>Times that the channel was given to another carrier. Any thread.</summary>
    internal long HandOvers => Volatile.Read(ref _turn) >> 1;

    /// <summary>Continuations started so far. Any thread.</summary>
    internal long Runs => Volatile.Read(ref _runs);

    /// <summary>The epoch in which a carrier is in application code now, or -1. Any thread.</summary>
    internal long EpochInApplication
    {
        get
        {
            long turn = Volatile.Read(ref _turn);
            return (turn & InApplication) != 0 ? turn >> 1 : -1;
        }
    }

    /// <summary>Makes the calling thread the carrier of <paramref name="epoch"/>.</summary>
    internal void Board(long epoch)
    {
        t_carried = this;
        t_epoch = epoch;
        CarrierThread.Remember();
        if (epoch > 0)
        {
            NoteHandOver(Stopwatch.GetTimestamp());
        }

        if (Cpu >= 0)
        {
            CpuAffinity.TrySet(Cpu);
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
    internal long TryTakeAway(long epoch)
    {
        long turn = (epoch << 1) | InApplication;
        return Interlocked.CompareExchange(ref _turn, (epoch + 1) << 1, turn) == turn ? epoch + 1 : -1;
    }

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

        if (!Scheduling.Adaptive)
        {
            return true;
        }

        long turn = (t_epoch << 1) | InApplication;
        return Interlocked.CompareExchange(ref _turn, t_epoch << 1, turn) == turn;
    }

    internal void LeaveRing()
    {
        if (Scheduling.Adaptive)
        {
            Volatile.Write(ref _turn, (t_epoch << 1) | InApplication);
        }
    }

    /// <summary>The carrier: has a continuation run, where its cost says. It became ready in this turn.</summary>
    internal void Resume(Continuation continuation)
    {
        if (!Scheduling.OnCarrier || _ended)
        {
            ThreadPool.UnsafeQueueUserWorkItem(continuation, preferLocal: false);
            return;
        }

        if (Scheduling.Adaptive && (continuation.Cost.AverageTicks > Scheduling.BudgetTicks ||
            continuation.Cost.LivesElsewhere || (_retreatUntil != 0 && IsRetreating(Stopwatch.GetTimestamp())) ||
            CarrierPool.Instance.IsExhausted(Scheduling.MaxCarriers)))
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

    private void Offload(Continuation continuation)
    {
        OffloadedCount++;
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
        long start = adaptive ? Stopwatch.GetTimestamp() : 0;
        HandlerClock clock = adaptive ? HandlerClock.Start() : default;
        long queueDelayEnd = start + Scheduling.QueueDelayTicks;
        int sinceFlush = 0;
        while (_readyNext < _readyEnd)
        {
            Continuation continuation = _ready[_readyNext]!;
            _ready[_readyNext++] = null;
            if (adaptive && (CarrierPool.Instance.IsExhausted(Scheduling.MaxCarriers) ||
                IsRetreating(start) || (start > queueDelayEnd && HasIdleCore())))
            {
                Offload(continuation);
                continue;
            }

            InlineCount++;
            if (!adaptive)
            {
                continuation.Run();
                CarrierThread.Clean();
            }
            else
            {
                Volatile.Write(ref _runs, _runs + 1);
                long turn = (epoch << 1) | InApplication;
                Volatile.Write(ref _turn, turn);
                CarrierWatcher.Instance.Attend(); // after the turn is written: pairs with the watcher's way to sleep
                ContinuationCost.SetRunning(continuation.Cost);
                continuation.Run();
                CarrierThread.Clean();
                long end = Stopwatch.GetTimestamp();
                long took = end - start;
                if (took > Scheduling.BudgetTicks)
                {
                    took = clock.Take(took);
                }

                continuation.Cost.Add(took, Scheduling.BudgetTicks);
                if (MegaPipeMetrics.CarrierTimeObserved)
                {
                    MegaPipeMetrics.RecordCarrierTime(Index, end - start);
                }

                if (Interlocked.CompareExchange(ref _turn, epoch << 1, turn) != turn)
                {
                    continuation.Cost.AddHandOver(took, Scheduling.BudgetTicks);
                    return false;
                }

                start = end;
            }

            // The paper's first flush rule: the kernel starts on the answers while the rest of the batch runs.
            if (++sinceFlush == _batchThreshold && _readyNext < _readyEnd)
            {
                sinceFlush = 0;
                PerformRequests();
                _native.Flush();
                start = adaptive ? Stopwatch.GetTimestamp() : 0; // the next continuation did not cost this
            }
        }

        _readyNext = _readyEnd = 0;
        return true;
    }
}
