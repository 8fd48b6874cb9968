// The work that any thread asks of a channel: an intrusive stack that many push to and the carrier empties.
namespace MegaPipe.Kestrel.Internal.Channels;

/// <summary>Something to be done by the carrier, inside the ring's turn. Pushed at most once until performed.</summary>
internal interface IChannelWork
{
    IChannelWork? NextWork { get; set; }

    /// <summary>Runs on the carrier. Makes requests to the channel; runs no user code and does not throw.</summary>
    void Perform(TransportChannel channel);
}

/// <summary>Work made of a delegate, for the rare things: binding, unbinding, retries.</summary>
internal sealed class DelegateWork(Action<TransportChannel> action) : IChannelWork
{
    public IChannelWork? NextWork { get; set; }

    public void Perform(TransportChannel channel) => action(channel);
}

/// <summary>Many producers, one consumer at a time, in order of arrival. No allocation.</summary>
internal struct ChannelWorkQueue
{
    private IChannelWork? _newest;

    public readonly bool IsEmpty => Volatile.Read(in _newest) is null;

    /// <summary>true when the queue was empty: this producer wakes the carrier.</summary>
    public bool Push(IChannelWork work)
    {
        IChannelWork? newest = Volatile.Read(ref _newest);
        while (true)
        {
            work.NextWork = newest;
            IChannelWork? seen = Interlocked.CompareExchange(ref _newest, work, newest);
            if (ReferenceEquals(seen, newest))
            {
                return newest is null;
            }

            newest = seen;
        }
    }

    /// <summary>Everything pushed so far, oldest first, linked by <see cref="IChannelWork.NextWork"/>.</summary>
    public IChannelWork? TakeAll()
    {
        if (IsEmpty)
        {
            return null;
        }

        IChannelWork? work = Interlocked.Exchange(ref _newest, null);
        IChannelWork? oldest = null;
        while (work is not null)
        {
            IChannelWork? next = work.NextWork;
            work.NextWork = oldest;
            oldest = work;
            work = next;
        }

        return oldest;
    }
}
