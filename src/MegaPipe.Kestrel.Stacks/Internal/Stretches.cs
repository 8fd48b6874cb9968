// When which thread was kept by whom.
namespace MegaPipe.Kestrel.Stacks.Internal;

/// <summary>What the transport's status says when sampling ends.</summary>
/// <param name="Title">The endpoint.</param>
/// <param name="ThreadId">The thread's number in the system.</param>
internal sealed record StuckThread(string Title, int ThreadId)
{
    public DateTime At { get; init; }

    /// <summary>For how long at most: the longest of the endpoint's threads is known.</summary>
    public TimeSpan AtMost { get; init; }

    /// <summary>It was stuck when sampling began, too: for all of the time, or again.</summary>
    public bool Before { get; init; }
}

/// <summary>A thread was kept from a time to another one, in milliseconds since the trace began.</summary>
internal readonly record struct Stretch(string Title, int? Channel, double From, double To);

/// <summary>
/// The transport says two things: that a channel was taken from a thread, and, afterwards and on that very thread, for
/// how long it was kept. Who is not back yet is known from the status.
/// </summary>
internal sealed class Stretches
{
    private readonly Dictionary<int, List<Stretch>> _byThread = [];
    private readonly Dictionary<int, (int Channel, double At)> _taken = [];
    private readonly HashSet<int> _moved = [];

    public void HandedOver(int thread, int channel, double at)
    {
        _taken[thread] = (channel, at);
        _moved.Add(thread);
    }

    public void Blocked(int thread, string title, int channel, double milliseconds, double at)
    {
        _taken.Remove(thread);
        _moved.Add(thread);
        Add(thread, new Stretch(title, channel < 0 ? null : channel, at - milliseconds, at));
    }

    /// <summary>Last. <paramref name="sampledAt"/>: when the thread was sampled, in order.</summary>
    public void StillStuck(StuckThread stuck, double at, IReadOnlyList<double> sampledAt)
    {
        bool taken = _taken.TryGetValue(stuck.ThreadId, out (int Channel, double At) hand) && hand.At <= at;
        // Without an event nobody knows since when; that it was so at the last look is certain.
        double last = sampledAt.LastOrDefault(time => time <= at, double.MaxValue);
        double from = taken ? hand.At : stuck.Before && !_moved.Contains(stuck.ThreadId) ? double.MinValue : last;
        from = Math.Min(last, Math.Max(from, at - stuck.AtMost.TotalMilliseconds));
        Add(stuck.ThreadId, new Stretch(stuck.Title, taken ? hand.Channel : null, from, at));
    }

    public Stretch? Find(int thread, double at)
    {
        foreach (Stretch stretch in _byThread.GetValueOrDefault(thread, []))
        {
            if (stretch.From <= at && at <= stretch.To)
            {
                return stretch;
            }
        }

        return null;
    }

    private void Add(int thread, Stretch stretch)
    {
        if (!_byThread.TryGetValue(thread, out List<Stretch>? all))
        {
            _byThread[thread] = all = [];
        }

        all.Add(stretch);
    }
}
