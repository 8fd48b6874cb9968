// The one word that decides who carries a channel.
namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>
/// An epoch, which grows by one with each hand-over, and whether the carrier of that epoch is in application code. Only
/// then can the watcher take the channel, by a compare-and-swap from exactly that word; the carrier, back from the
/// application, makes the same exchange the other way. One of them wins.
/// </summary>
internal struct Turn
{
    private const long InApplication = 1;

    // epoch << 1 | InApplication
    private long _word;

    /// <summary>Hand-overs so far. Any thread.</summary>
    public readonly long Epoch => Volatile.Read(in _word) >> 1;

    /// <summary>The epoch in which a carrier is in application code now, or -1. Any thread.</summary>
    public readonly long EpochInApplication
    {
        get
        {
            long word = Volatile.Read(in _word);
            return (word & InApplication) != 0 ? word >> 1 : -1;
        }
    }

    /// <summary>The carrier of <paramref name="epoch"/>: from here on it may lose the channel.</summary>
    public void Enter(long epoch) => Volatile.Write(ref _word, (epoch << 1) | InApplication);

    /// <summary>
    /// Back from the application: false when the channel was taken away meanwhile. true: it stays with this carrier
    /// until the next <see cref="Enter"/>.
    /// </summary>
    public bool TryLeave(long epoch)
    {
        long word = (epoch << 1) | InApplication;
        return Interlocked.CompareExchange(ref _word, epoch << 1, word) == word;
    }

    /// <summary>
    /// The watcher: ends <paramref name="epoch"/> if its carrier still is in application code. The next carrier's
    /// epoch, or -1.
    /// </summary>
    public long TryTakeAway(long epoch)
    {
        long word = (epoch << 1) | InApplication;
        return Interlocked.CompareExchange(ref _word, (epoch + 1) << 1, word) == word ? epoch + 1 : -1;
    }
}
