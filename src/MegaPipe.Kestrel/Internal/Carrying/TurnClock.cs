// How long a channel's turns take and how much of its time it works: for whoever balances.
namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>
/// Written by the carrier with plain stores, read by the balancer at intervals. A value that is missed or taken twice
/// at the moment of a hand-over is one look's noise.
/// </summary>
internal sealed class TurnClock
{
    private long _turns;
    private long _turnBegan; // 0: no continuation runs
    private long _longestTurn;
    private long _awakeSince;
    private long _worked; // until it last went to sleep
    private long _workedSeen;
    private bool _asleep;

    /// <summary>Rounds of the carrier's loop so far.</summary>
    public long Turns => Volatile.Read(ref _turns);

    /// <summary>The carrier begins another round.</summary>
    public void NextTurn() => Volatile.Write(ref _turns, _turns + 1);

    /// <summary>The carrier begins to run continuations.</summary>
    public void Begin(long now) => Volatile.Write(ref _turnBegan, now);

    /// <summary>All of them have run. Not where the channel was taken away: the next carrier begins anew.</summary>
    public void End(long now)
    {
        long took = now - _turnBegan;
        Volatile.Write(ref _turnBegan, 0);
        if (took > Volatile.Read(ref _longestTurn))
        {
            Volatile.Write(ref _longestTurn, took);
        }
    }

    /// <summary>The carrier is about to wait for the kernel.</summary>
    public void Sleep(long now)
    {
        Volatile.Write(ref _worked, _worked + (now - _awakeSince));
        Volatile.Write(ref _asleep, true);
    }

    public void WakeUp(long now)
    {
        Volatile.Write(ref _awakeSince, now);
        Volatile.Write(ref _asleep, false);
    }

    /// <summary>The balancer: the longest turn since it last asked, one that goes on included.</summary>
    public long TakeLongestTurn(long now)
    {
        long longest = Volatile.Read(ref _longestTurn);
        Volatile.Write(ref _longestTurn, 0);
        long began = Volatile.Read(ref _turnBegan);
        return began == 0 ? longest : Math.Max(longest, now - began);
    }

    /// <summary>The balancer: ticks that the channel has not slept since it last asked.</summary>
    public long TakeWork(long now)
    {
        bool asleep = Volatile.Read(ref _asleep);
        long worked = Volatile.Read(ref _worked);
        long total = asleep ? worked : worked + Math.Max(0, now - Volatile.Read(ref _awakeSince));
        long since = total - _workedSeen;
        _workedSeen = total;
        return Math.Max(0, since);
    }
}
