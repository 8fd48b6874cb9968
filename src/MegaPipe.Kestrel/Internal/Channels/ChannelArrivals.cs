// Connections that other channels send to a channel: whose they are, and that it lives until they have come.
namespace MegaPipe.Kestrel.Internal.Channels;

/// <summary>
/// A transfer names its taker by a number, because it travels through the kernel. The sender expects the arrival
/// before it sends; the channel does not end while it expects one.
/// </summary>
internal sealed class ChannelArrivals(TransportChannel channel)
{
    /// <summary>
    /// So many may be on their way to a channel at a time: as many as it accepts itself in a turn. A channel that is
    /// stuck, and not yet known to be, keeps no more of other channels' connections waiting.
    /// </summary>
    public const int Most = 4;

    /// <summary>Added to the count of arrivals when the channel ends.</summary>
    private const int Ended = int.MinValue;

    private readonly Lock _sync = new();
    private readonly List<IHandleOwner?> _takers = [];
    private int _expected;

    /// <summary>
    /// Any thread: gives a taker a number, until <see cref="Release"/>. It gets accept events of what comes for it.
    /// </summary>
    public ulong Number(IHandleOwner taker)
    {
        lock (_sync)
        {
            int free = _takers.IndexOf(null);
            if (free < 0)
            {
                free = _takers.Count;
                _takers.Add(null);
            }

            _takers[free] = taker;
            return (ulong)free;
        }
    }

    /// <summary>Any thread: nothing is on its way to this taker, and nothing will be.</summary>
    public void Release(ulong number)
    {
        lock (_sync)
        {
            _takers[(int)number] = null;
        }
    }

    /// <summary>
    /// Any thread, before a transfer to here. false: the channel has ended, or <see cref="Most"/> are on their way.
    /// Each is followed by an arrival, or by <see cref="Forget"/>.
    /// </summary>
    public bool TryExpect()
    {
        if (Interlocked.Increment(ref _expected) is > 0 and <= Most)
        {
            return true;
        }

        Forget();
        return false;
    }

    /// <summary>Any thread: what was expected does not come.</summary>
    public void Forget()
    {
        Interlocked.Decrement(ref _expected);
        channel.Wake(); // it may have waited for this to end
    }

    /// <summary>The carrier: one has come, or could not be taken in.</summary>
    internal IHandleOwner Take(ulong number)
    {
        Interlocked.Decrement(ref _expected);
        lock (_sync)
        {
            return _takers[(int)number]!;
        }
    }

    /// <summary>The carrier: from now on nothing is expected. false: something is.</summary>
    internal bool TryEnd() => Interlocked.CompareExchange(ref _expected, Ended, 0) == 0;
}
