// What a channel's carrier has measured for the meter's histograms and not yet told.
namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>
/// Keeps records until the carrier is about to sleep, or has enough of them: who listens is then called for many, one
/// after the other. Between two continuations a call costs about three times as much, by what it misses in the caches.
/// Of the carrier, outside of application code.
/// </summary>
internal sealed class ChannelRecords(int channel)
{
    /// <summary>So many of a kind are told at once: enough to share the first one's misses.</summary>
    internal const int Capacity = 64;

    private Kept<long> _continuations = new();
    private Kept<long> _turns = new();
    private Kept<(int Events, int Requests)> _batches = new();

    /// <summary>Ticks for which a continuation kept the carrier.</summary>
    public void AddContinuation(long ticks)
    {
        if (_continuations.Add(ticks))
        {
            TellContinuations();
        }
    }

    /// <summary>Ticks that the continuations of a turn took.</summary>
    public void AddTurn(long ticks)
    {
        if (_turns.Add(ticks))
        {
            TellTurns();
        }
    }

    /// <summary>Events taken at a time, and requests given to the kernel since the last ones were taken.</summary>
    public void AddBatch(int events, int requests)
    {
        if (_batches.Add((events, requests)))
        {
            TellBatches();
        }
    }

    /// <summary>Before the carrier sleeps or ends: nothing is kept for longer than the channel is busy.</summary>
    public void TellAll()
    {
        TellContinuations();
        TellTurns();
        TellBatches();
    }

    private void TellContinuations()
    {
        foreach (long ticks in _continuations.TakeAll())
        {
            MegaPipeMetrics.RecordCarrierTime(channel, ticks);
        }
    }

    private void TellTurns()
    {
        foreach (long ticks in _turns.TakeAll())
        {
            MegaPipeMetrics.RecordTurn(channel, ticks);
        }
    }

    private void TellBatches()
    {
        foreach ((int events, int requests) in _batches.TakeAll())
        {
            MegaPipeMetrics.RecordBatch(channel, events, requests);
        }
    }

    private struct Kept<T>()
    {
        private readonly T[] _items = new T[Capacity];
        private int _count;

        /// <summary>Whether it is full now.</summary>
        public bool Add(T item)
        {
            _items[_count++] = item;
            return _count == Capacity;
        }

        /// <summary>Each is told once, also if who listens throws.</summary>
        public ReadOnlySpan<T> TakeAll()
        {
            ReadOnlySpan<T> all = _items.AsSpan(0, _count);
            _count = 0;
            return all;
        }
    }
}
