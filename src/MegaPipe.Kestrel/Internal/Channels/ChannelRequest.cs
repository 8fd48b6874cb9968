// What any thread may ask of a channel: an intrusive stack that many push to and the carrier empties.
namespace MegaPipe.Kestrel.Internal.Channels;

/// <summary>Something to be done by the carrier, inside the ring's turn. Pushed at most once until performed.</summary>
internal interface IChannelRequest
{
    IChannelRequest? NextRequest { get; set; }

    /// <summary>Runs on the carrier. Makes requests to the channel; runs no user code and does not throw.</summary>
    void Perform(TransportChannel channel);
}

/// <summary>A request made of a delegate, for the rare things: binding, unbinding, retries.</summary>
internal sealed class DelegateRequest(Action<TransportChannel> action) : IChannelRequest
{
    public IChannelRequest? NextRequest { get; set; }

    public void Perform(TransportChannel channel) => action(channel);
}

/// <summary>Many producers, one consumer at a time, in order of arrival. No allocation.</summary>
internal struct ChannelRequestQueue
{
    private IChannelRequest? _newest;

    public readonly bool IsEmpty => Volatile.Read(in _newest) is null;

    /// <summary>true when the queue was empty: this producer wakes the carrier.</summary>
    public bool Push(IChannelRequest request)
    {
        IChannelRequest? newest = Volatile.Read(ref _newest);
        while (true)
        {
            request.NextRequest = newest;
            IChannelRequest? seen = Interlocked.CompareExchange(ref _newest, request, newest);
            if (ReferenceEquals(seen, newest))
            {
                return newest is null;
            }

            newest = seen;
        }
    }

    /// <summary>Everything pushed so far, oldest first, linked by <see cref="IChannelRequest.NextRequest"/>.</summary>
    public IChannelRequest? TakeAll()
    {
        if (IsEmpty)
        {
            return null;
        }

        IChannelRequest? request = Interlocked.Exchange(ref _newest, null);
        IChannelRequest? oldest = null;
        while (request is not null)
        {
            IChannelRequest? next = request.NextRequest;
            request.NextRequest = oldest;
            oldest = request;
            request = next;
        }

        return oldest;
    }
}
