// Carriers: the threads that run channels, pooled for the whole process. A spare ends after a time without a channel;
// what it had submitted and still is in the kernel the channels survive (native/include/megapipe.h).
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>One thread that carries a channel, or waits as a spare until it is given one.</summary>
internal sealed class Carrier(CarrierPool pool)
{
    private readonly SemaphoreSlim _assigned = new(0);
    private Carried? _channel;
    private long _epoch;

    /// <summary>false: the system gives no thread.</summary>
    internal bool TryStart(int number) => CarrierThread.TryStart(Live, $"MegaPipe carrier {number}");

    /// <summary>Has this spare carry <paramref name="channel"/> from <paramref name="epoch"/> on.</summary>
    internal void Assign(Carried channel, long epoch)
    {
        Debug.Assert(_channel is null);
        _channel = channel;
        _epoch = epoch;
        _assigned.Release();
    }

    private void Live()
    {
        while (true)
        {
            if (!CarrierThread.Uninterrupted(() => _assigned.Wait(pool.IdleTime)))
            {
                if (CarrierThread.Uninterrupted(() => pool.TryEnd(this)))
                {
                    return;
                }

                continue;
            }

            Carried channel = _channel!;
            channel.Board(_epoch);
            bool finished = channel.Carry(_epoch);
            Carried.Leave();
            _channel = null;
            if (finished)
            {
                CarrierThread.ClearInterrupt();
                channel.Close();
            }

            CarrierThread.Uninterrupted(() => pool.TakeBack(this, finished ? channel : null));
        }
    }
}

/// <summary>The process's carriers.</summary>
internal sealed class CarrierPool
{
    private readonly Lock _sync = new();
    private readonly List<Carrier> _spares = []; // the one that carried last is the last
    private readonly Dictionary<Carried, TaskCompletionSource> _ends = [];
    private Carried[] _carried = [];
    private int _count;
    private int _spareCount;
    private int _lastNumber;
    private bool _refused;
    private long _retryAt;

    /// <summary>
    /// Spares that stay, one for each channel up to so many: a hand-over then waits for no thread to start.
    /// </summary>
    private const int MaxReserve = 4;

    /// <summary>How long to wait after a thread was refused; the system does not say when it has one again.</summary>
    private const long RetryAfterMs = 100;

    public static CarrierPool Instance { get; } = new();

    /// <summary>What the process's carriers and their watcher count, for the meter. Any thread.</summary>
    public static CarrierCounts Count() => new(
        Instance.LiveCount, Instance.SpareCount, CarrierWatcher.Instance.PoolGrowCount);

    /// <summary>How many threads may be started beyond those of the channels. Tests replace it.</summary>
    internal Func<int> Room { get; init; } = static () => ThreadRoom.Left(1);

    /// <summary>How long a spare beyond the reserve waits for a channel: as long as the thread pool's.</summary>
    public TimeSpan IdleTime { get; set; } = TimeSpan.FromSeconds(20);

    /// <summary>
    /// The system refused the last thread that was asked for, or has none to spare (<see cref="ThreadRoom"/>). Any
    /// thread.
    /// </summary>
    public bool ThreadsRefused => Volatile.Read(ref _refused);

    public int LiveCount
    {
        get
        {
            lock (_sync)
            {
                return _count;
            }
        }
    }

    /// <summary>Carriers started so far, those included that have ended.</summary>
    public int StartedCount => Volatile.Read(ref _lastNumber);

    public int SpareCount
    {
        get
        {
            lock (_sync)
            {
                return _spares.Count;
            }
        }
    }

    /// <summary>
    /// Fewer carriers are left than there are channels. While this is true, application code runs on the thread pool
    /// only: a channel that is stuck right now can then still be handed to a carrier, and that carrier cannot get
    /// stuck. Where the system gives no more threads, only the spares are left. Any thread.
    /// </summary>
    public bool IsExhausted(int limit)
    {
        int startable = ThreadsRefused ? 0 : limit - Volatile.Read(ref _count);
        return startable + Volatile.Read(ref _spareCount) < Volatile.Read(ref _carried).Length;
    }

    /// <summary>
    /// Whether this process has CPUs that neither a busy channel nor work queued at the thread pool would use. A guess,
    /// for those that have time to share work. Any thread.
    /// </summary>
    public bool HasIdleCore()
    {
        int busy = 0;
        foreach (Carried channel in Volatile.Read(ref _carried))
        {
            busy += channel.IsWaiting && !channel.IsSpinning ? 0 : 1;
        }

        return busy < Environment.ProcessorCount && ThreadPool.PendingWorkItemCount == 0;
    }

    /// <summary>
    /// Carriers for that many new channels, whatever the limit of spares; null when there are not as many threads to
    /// be had.
    /// </summary>
    public Carrier[]? TryTake(int count)
    {
        Carrier[] taken = new Carrier[count];
        for (int i = 0; i < count; i++)
        {
            if (TryTakeSpare(int.MaxValue) is not { } carrier)
            {
                Array.ForEach(taken[..i], ReturnSpare);
                return null;
            }

            taken[i] = carrier;
        }

        return taken;
    }

    /// <summary>Starts carrying a new channel. The task ends when the channel was stopped and closed.</summary>
    public Task Start(Carried channel, Carrier carrier)
    {
        TaskCompletionSource end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_sync)
        {
            _ends.Add(channel, end);
            _carried = [.. _ends.Keys];
        }

        carrier.Assign(channel, 0);
        return end.Task;
    }

    /// <summary>
    /// A spare, or a new carrier while fewer than <paramref name="limit"/> live; null when there is neither.
    /// </summary>
    internal Carrier? TryTakeSpare(int limit)
    {
        lock (_sync)
        {
            if (_spares.Count > 0)
            {
                Carrier spare = _spares[^1];
                _spares.RemoveAt(_spares.Count - 1);
                _spareCount--;
                return spare;
            }

            return _count < limit ? TryStart(always: limit == int.MaxValue) : null;
        }
    }

    internal void ReturnSpare(Carrier carrier)
    {
        lock (_sync)
        {
            _spares.Add(carrier);
            _spareCount++;
        }
    }

    /// <summary>
    /// Gives <paramref name="channel"/> to another carrier if that of <paramref name="epoch"/> still is in application
    /// code. false when it is not, or there is no carrier; one comes back when its handler does.
    /// </summary>
    internal bool TryHandOver(Carried channel, long epoch)
    {
        // A carrier first, then the channel: a channel is never without one.
        if (TryTakeSpare(channel.Scheduling.MaxCarriers) is not { } carrier)
        {
            return false;
        }

        long next = channel.TryTakeAway(epoch);
        if (next < 0)
        {
            ReturnSpare(carrier);
            return false;
        }

        carrier.Assign(channel, next);
        return true;
    }

    /// <summary>
    /// After a thread was refused: tries again, at most every 100 ms, and keeps the carrier as a spare. Nothing else
    /// tries: while there is no spare, application code runs on the thread pool only, where it needs none.
    /// </summary>
    internal void RetryRefused()
    {
        if (!ThreadsRefused)
        {
            return;
        }

        lock (_sync)
        {
            if (_refused && TryStart(always: false) is { } carrier)
            {
                _spares.Add(carrier);
                _spareCount++;
            }
        }
    }

    /// <summary>
    /// From a spare that had nothing to carry for <see cref="IdleTime"/>. true: it is counted no more, and ends. false:
    /// it is of the reserve, or has just been given a channel.
    /// </summary>
    internal bool TryEnd(Carrier carrier)
    {
        lock (_sync)
        {
            if (_spares.Count <= Math.Min(_carried.Length, MaxReserve) || !_spares.Remove(carrier))
            {
                return false;
            }

            _count--;
            _spareCount--;
            return true;
        }
    }

    /// <summary>From a carrier that carries no more; its channel, if that was stopped and closed.</summary>
    internal void TakeBack(Carrier carrier, Carried? finished)
    {
        TaskCompletionSource? end = null;
        lock (_sync)
        {
            if (finished is not null)
            {
                _ends.Remove(finished, out end);
                _carried = [.. _ends.Keys];
            }

            _spares.Add(carrier);
            _spareCount++;
        }

        end?.SetResult();
    }

    /// <param name="always">A channel's own: it needs one, whatever that leaves to others.</param>
    private Carrier? TryStart(bool always)
    {
        long now = Environment.TickCount64;
        if (!always && _refused && now < _retryAt)
        {
            return null;
        }

        Carrier carrier = new(this);
        bool started = (always || Room() > 0) && carrier.TryStart(_lastNumber + 1);
        Volatile.Write(ref _refused, !started);
        if (!started)
        {
            _retryAt = now + RetryAfterMs;
            return null;
        }

        _lastNumber++;
        _count++;
        return carrier;
    }
}
