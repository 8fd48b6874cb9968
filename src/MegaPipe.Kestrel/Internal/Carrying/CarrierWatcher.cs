// The watcher: sees a carrier that has sat in one continuation for too long, and gives its channel to another; and a
// thread pool that is stuck, and makes it grow.
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using MegaPipe.Kestrel.Internal.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>What evens out the channels of a host, at the watcher's looks.</summary>
internal interface IBalancer
{
    /// <summary>The watcher, every few milliseconds. Does not throw. Whether there was anything to see.</summary>
    bool Look(long now);
}

/// <summary>
/// One thread per process. It looks at each channel at intervals while any is busy, and sleeps without a timer while
/// all are idle: a carrier that finds it asleep wakes it.
/// </summary>
internal sealed class CarrierWatcher
{
    /// <summary>Looks without any continuation seen twice before it goes to sleep.</summary>
    private const int IdleLooks = 50;

    /// <summary>While nothing looks stuck, the time between two looks grows up to this many hand-over times.</summary>
    private const int MaxRelaxation = 4;

    /// <summary>One host's long hand-over time must not make another's longer.</summary>
    private const long MaxSleepTicks = 10 * TimeSpan.TicksPerMillisecond;

    private readonly Lock _sync = new();
    private readonly SemaphoreSlim _wanted = new(0);
    private readonly PoolGuard _pool = new(new RuntimePool(), Environment.ProcessorCount);
    private Watched[] _channels = [];
    private IBalancer[] _balancers = [];
    private int _asleep = 1;
    private bool _started;

    public static CarrierWatcher Instance { get; } = new();

    public long HandOverCount;

    /// <summary>Times that a stuck thread pool was made to grow.</summary>
    public long PoolGrowCount => Interlocked.Read(ref _pool.GrowCount);

    /// <summary>Before the first channel or balancer. false: the system gives no thread.</summary>
    public bool TryStart()
    {
        lock (_sync)
        {
            return _started = _started || CarrierThread.TryStart(Watch, "MegaPipe watcher");
        }
    }

    public void Add(Carried channel, CarrierWarnings warnings)
    {
        lock (_sync)
        {
            _channels = [.. _channels, new Watched(channel, warnings)];
        }
    }

    public void Remove(Carried channel)
    {
        lock (_sync)
        {
            _channels = [.. _channels.Where(watched => watched.Channel != channel)];
        }
    }

    public void Add(IBalancer balancer)
    {
        lock (_sync)
        {
            _balancers = [.. _balancers, balancer];
        }
    }

    /// <summary>A look that has begun may still go on.</summary>
    public void Remove(IBalancer balancer)
    {
        lock (_sync)
        {
            _balancers = [.. _balancers.Where(other => other != balancer)];
        }
    }

    /// <summary>A carrier runs a continuation: one read while the watcher is awake.</summary>
    public void Attend()
    {
        if (Volatile.Read(ref _asleep) != 0 && Interlocked.Exchange(ref _asleep, 0) != 0)
        {
            _wanted.Release();
        }
    }

    [SuppressMessage("Design", "CA1031", Justification = "Without it a handler that blocks stops a channel.")]
    private void Watch()
    {
        while (true)
        {
            try
            {
                WatchForEver();
            }
            catch (Exception)
            {
                Thread.Sleep(1); // out of memory, at most: the next look may find some
            }
        }
    }

    private void WatchForEver()
    {
        int idleLooks = 0;
        int relaxation = 1;
        while (true)
        {
            CarrierPool.Instance.RetryRefused();
            Watched[] channels = Volatile.Read(ref _channels);
            long interval = long.MaxValue;
            long lateTicks = long.MaxValue;
            int poolThreads = 0;
            bool ran = false, suspicious = false;
            foreach (Watched watched in channels)
            {
                ran |= watched.Look(this, ref suspicious);
                ChannelScheduling scheduling = watched.Channel.Scheduling;
                interval = Math.Min(interval, scheduling.HandOverAfter.Ticks);
                lateTicks = Math.Min(lateTicks, scheduling.HandOverTicks);
                poolThreads = Math.Max(poolThreads, scheduling.MaxPoolThreads);
            }

            foreach (IBalancer balancer in Volatile.Read(ref _balancers))
            {
                ran |= balancer.Look(Stopwatch.GetTimestamp());
            }

            if (_pool.Look(Stopwatch.GetTimestamp(), lateTicks, poolThreads))
            {
                ran = true;
                suspicious |= _pool.IsLate;
            }

            relaxation = suspicious ? 1 : Math.Min(relaxation * 2, MaxRelaxation);
            idleLooks = ran ? 0 : idleLooks + 1;
            if (idleLooks > IdleLooks || channels.Length == 0)
            {
                // Announce, then look once more. A carrier writes its turn and then reads the announcement, without a
                // fence between the two; the barrier here is the fence for both, so one of them sees the other.
                Interlocked.Exchange(ref _asleep, 1);
                Interlocked.MemoryBarrierProcessWide();
                if (channels.Length == 0 || !(channels.Any(watched => watched.Busy) || PoolGuard.HasWork))
                {
                    Sleep();
                }
                else if (Interlocked.Exchange(ref _asleep, 0) == 0)
                {
                    _wanted.Wait(); // its wake-up came meanwhile: take it
                }

                idleLooks = 0;
                relaxation = 1;
                continue;
            }

            Thread.Sleep(new TimeSpan(
                Math.Min(Math.Max(interval, TimeSpan.TicksPerMillisecond) * relaxation, MaxSleepTicks)));
        }
    }

    /// <summary>Without a timer, but for a pool that has threads to give back.</summary>
    private void Sleep()
    {
        if (!_pool.Raised)
        {
            _wanted.Wait();
        }
        else if (!_wanted.Wait(PoolGuard.GiveBackAfter) && Interlocked.Exchange(ref _asleep, 0) == 0)
        {
            _wanted.Wait(); // woken at the same moment: take it
        }
    }

    /// <summary>What the watcher remembers of a channel between two looks.</summary>
    private sealed class Watched(Carried channel, CarrierWarnings warnings)
    {
        private long _runs = -1;
        private long _since;
        private bool _waited;

        public Carried Channel { get; } = channel;

        public bool Busy => Channel.EpochInApplication >= 0 || Channel.HasWork;

        /// <summary>Whether anything ran since the last look.</summary>
        public bool Look(CarrierWatcher watcher, ref bool suspicious)
        {
            bool waiting = Channel.HasWork;
            if (waiting && _waited)
            {
                Channel.Wake(); // asked for at the last look and not performed: the pool has no thread to wake with
            }

            _waited = waiting;
            suspicious |= waiting;
            long runs = Channel.Runs;
            long epoch = Channel.EpochInApplication;
            if (runs != _runs || epoch < 0)
            {
                Channel.IsAbandoned = false;
            }

            if (runs != _runs)
            {
                _runs = runs;
                _since = Stopwatch.GetTimestamp();
                suspicious |= epoch >= 0;
                return true;
            }

            if (epoch < 0)
            {
                return waiting;
            }

            suspicious = true;
            if (Stopwatch.GetTimestamp() - _since >= Channel.Scheduling.HandOverTicks)
            {
                HandOver(watcher, epoch);
            }

            return true;
        }

        private void HandOver(CarrierWatcher watcher, long epoch)
        {
            CarrierPool pool = CarrierPool.Instance;
            StuckTurn? turn = Channel.BeginStuck(epoch, _since);
            bool done = pool.TryHandOver(Channel, epoch);
            if (done)
            {
                Interlocked.Increment(ref watcher.HandOverCount);
                Channel.StalledTicks += Stopwatch.GetTimestamp() - _since;
                turn?.Confirm();
            }
            else
            {
                turn?.Withdraw();
            }

            Channel.IsAbandoned = !done && Channel.EpochInApplication == epoch;
            if (pool.ThreadsRefused)
            {
                warnings.NoThread();
            }
            else if (done && pool.IsExhausted(Channel.Scheduling.MaxCarriers))
            {
                warnings.Exhausted();
            }
        }
    }
}
