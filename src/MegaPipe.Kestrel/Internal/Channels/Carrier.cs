// Carriers: the threads that run channels. Pooled for the whole process and never ended while a channel lives, because
// the kernel cancels the requests of an ended thread.
using System.Diagnostics;

namespace MegaPipe.Kestrel.Internal;

/// <summary>One thread that carries a channel, or waits as a spare until it is given one.</summary>
internal sealed class Carrier
{
    private readonly CarrierPool _pool;
    private readonly SemaphoreSlim _assigned = new(0);
    private TransportChannel? _channel;
    private long _epoch;

    internal Carrier(CarrierPool pool, int number)
    {
        _pool = pool;
        Thread thread = new(Live, 256 * 1024) { IsBackground = true, Name = $"MegaPipe carrier {number}" };
        thread.UnsafeStart();
    }

    /// <summary>Has this spare carry <paramref name="channel"/> from <paramref name="epoch"/> on.</summary>
    internal void Assign(TransportChannel channel, long epoch)
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
            _assigned.Wait();
            TransportChannel channel = _channel!;
            channel.Board(_epoch);
            bool finished = channel.Carry(_epoch);
            TransportChannel.Leave();
            _channel = null;
            if (finished)
            {
                _pool.Finished(channel);
            }

            _pool.ReturnSpare(this);
        }
    }
}

/// <summary>The process's carriers.</summary>
internal sealed class CarrierPool
{
    private readonly Lock _sync = new();
    private readonly Stack<Carrier> _spares = new();
    private readonly Dictionary<TransportChannel, TaskCompletionSource> _ends = [];
    private TransportChannel[] _carried = [];
    private int _count;
    private int _spareCount;

    public static CarrierPool Instance { get; } = new();

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
    /// Fewer carriers are left than there are channels. From here on no channel may run application code on its
    /// carrier: each still has one to be handed to if it is stuck now, and then one that cannot get stuck. Any thread.
    /// </summary>
    public bool IsExhausted(int limit) =>
        limit - Volatile.Read(ref _count) + Volatile.Read(ref _spareCount) < Volatile.Read(ref _carried).Length;

    /// <summary>
    /// Whether this process has CPUs that neither a busy channel nor work queued at the thread pool would use. A guess,
    /// for those that have time to share work. Any thread.
    /// </summary>
    public bool HasIdleCore()
    {
        int busy = 0;
        foreach (TransportChannel channel in Volatile.Read(ref _carried))
        {
            busy += channel.IsWaiting ? 0 : 1;
        }

        return busy < Environment.ProcessorCount && ThreadPool.PendingWorkItemCount == 0;
    }

    /// <summary>Starts carrying a new channel. The task ends when the channel was stopped and closed.</summary>
    public Task Start(TransportChannel channel)
    {
        TaskCompletionSource end = new(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_sync)
        {
            _ends.Add(channel, end);
            _carried = [.. _ends.Keys];
        }

        bool assigned = TryAssign(channel, 0, int.MaxValue);
        Debug.Assert(assigned);
        return end.Task;
    }

    /// <summary>
    /// Gives the channel to a spare, or to a new carrier while fewer than <paramref name="limit"/> live.
    /// </summary>
    public bool TryAssign(TransportChannel channel, long epoch, int limit)
    {
        Carrier? carrier = TryTakeSpare(limit);
        carrier?.Assign(channel, epoch);
        return carrier is not null;
    }

    internal Carrier? TryTakeSpare(int limit)
    {
        lock (_sync)
        {
            if (_spares.TryPop(out Carrier? spare))
            {
                _spareCount--;
                return spare;
            }

            return _count < limit ? new Carrier(this, ++_count) : null;
        }
    }

    internal void ReturnSpare(Carrier carrier)
    {
        lock (_sync)
        {
            _spares.Push(carrier);
            _spareCount++;
        }
    }

    internal void Finished(TransportChannel channel)
    {
        channel.Close();
        TaskCompletionSource? end;
        lock (_sync)
        {
            _ends.Remove(channel, out end);
            _carried = [.. _ends.Keys];
        }

        end?.SetResult();
    }
}
