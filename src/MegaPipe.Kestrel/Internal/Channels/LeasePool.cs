// Leases: receive buffers between the kernel, a connection's reader, and back.
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Channels;

/// <summary>
/// A channel's leases. Readers return them from any thread without entering the ring; the carrier hands them to the
/// kernel at its next turn.
/// </summary>
internal sealed class LeasePool
{
    private readonly TransportChannel _channel;
    private readonly Channel _native;
    private readonly ReceiveSegment[] _segments;
    private ReceiveSegment? _returned; // the newest, linked to the older ones
    private int _out;
    private volatile bool _low;

    public LeasePool(TransportChannel channel, Channel native)
    {
        _channel = channel;
        _native = native;
        _segments = new ReceiveSegment[native.BufferCount];
        for (int i = 0; i < _segments.Length; i++)
        {
            _segments[i] = new ReceiveSegment(this, native.Buffer((uint)i));
        }
    }

    /// <summary>
    /// More than half of the buffers are with readers: from here on new data is copied to pool memory, so that slow
    /// readers cannot starve the other connections of this channel.
    /// </summary>
    public bool IsScarce => _out > _segments.Length / 2;

    /// <summary>The carrier: the segment of a lease that a read event brought.</summary>
    public ReceiveSegment Take(in ChannelEvent channelEvent)
    {
        ReceiveSegment segment = _segments[channelEvent.Lease];
        segment.Fill(channelEvent.Result);
        if (++_out >= _segments.Length * 3 / 4)
        {
            _low = true;
        }

        return segment;
    }

    /// <summary>The carrier: gives a lease back at once.</summary>
    public void ReturnNow(ReceiveSegment segment)
    {
        _out--;
        segment.Reset();
        _native.Release(segment.Lease);
    }

    /// <summary>
    /// Any thread: gives a lease back at the carrier's next turn, which is made to come when leases are low.
    /// </summary>
    public void Return(ReceiveSegment segment)
    {
        segment.Reset();
        ReceiveSegment? newest = Volatile.Read(ref _returned);
        while (true)
        {
            segment.NextReturned = newest;
            ReceiveSegment? seen = Interlocked.CompareExchange(ref _returned, segment, newest);
            if (ReferenceEquals(seen, newest))
            {
                break;
            }

            newest = seen;
        }

        if (_low && !_channel.IsCarriedByThisThread)
        {
            _native.Wake();
        }
    }

    /// <summary>The carrier: gives the kernel what readers have given back.</summary>
    public void HandBack()
    {
        if (Volatile.Read(ref _returned) is null)
        {
            return;
        }

        ReceiveSegment? segment = Interlocked.Exchange(ref _returned, null);
        while (segment is not null)
        {
            ReceiveSegment? next = segment.NextReturned;
            segment.NextReturned = null;
            _out--;
            _native.Release(segment.Lease);
            segment = next;
        }

        if (_low && _out < _segments.Length / 2)
        {
            _low = false;
        }
    }
}
