// Leases: receive buffers between the kernel, a connection's reader, and back. Readers return them from any thread
// without entering the ring; the carrier hands them to the kernel at its next turn.
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Channels;

internal sealed partial class TransportChannel
{
    /// <summary>
    /// More than half of the buffers are with readers: from here on new data is copied to pool memory, so that slow
    /// readers cannot starve the other connections of this channel.
    /// </summary>
    internal bool LeasesScarce => _leasesOut > _leaseSegments.Length / 2;

    /// <summary>The carrier: the segment of a lease that a read event brought.</summary>
    internal ReceiveSegment TakeLease(in ChannelEvent channelEvent)
    {
        ReceiveSegment segment = _leaseSegments[channelEvent.Lease];
        segment.Fill(channelEvent.Result);
        if (++_leasesOut >= _leaseSegments.Length * 3 / 4)
        {
            _leasesLow = true;
        }

        return segment;
    }

    /// <summary>The carrier: gives a lease back at once.</summary>
    internal void ReturnLeaseNow(ReceiveSegment segment)
    {
        _leasesOut--;
        segment.Reset();
        _native.Release(segment.Lease);
    }

    /// <summary>
    /// Any thread: gives a lease back at the carrier's next turn, which is made to come when leases are low.
    /// </summary>
    internal void ReturnLease(ReceiveSegment segment)
    {
        segment.Reset();
        ReceiveSegment? newest = Volatile.Read(ref _returnedLeases);
        while (true)
        {
            segment.NextReturned = newest;
            ReceiveSegment? seen = Interlocked.CompareExchange(ref _returnedLeases, segment, newest);
            if (ReferenceEquals(seen, newest))
            {
                break;
            }

            newest = seen;
        }

        if (_leasesLow && !IsCarriedByThisThread)
        {
            _native.Wake();
        }
    }

    /// <summary>The carrier: gives the kernel what readers have given back.</summary>
    internal void ReturnLeases()
    {
        if (Volatile.Read(ref _returnedLeases) is null)
        {
            return;
        }

        ReceiveSegment? segment = Interlocked.Exchange(ref _returnedLeases, null);
        while (segment is not null)
        {
            ReceiveSegment? next = segment.NextReturned;
            segment.NextReturned = null;
            _leasesOut--;
            _native.Release(segment.Lease);
            segment = next;
        }

        if (_leasesLow && _leasesOut < _leaseSegments.Length / 2)
        {
            _leasesLow = false;
        }
    }
}
