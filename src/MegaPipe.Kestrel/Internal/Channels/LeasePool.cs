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
    private readonly Lease?[] _leases; // made when a buffer is filled first
    private Lease? _returned; // the newest, linked to the older ones
    private int _out;
    private volatile bool _low;

    public LeasePool(TransportChannel channel, Channel native)
    {
        _channel = channel;
        _native = native;
        _leases = new Lease?[native.BufferCount];
    }

    /// <summary>
    /// More than half of the buffers are with readers: from here on new data is copied to pool memory, so that slow
    /// readers cannot starve the other connections of this channel.
    /// </summary>
    public bool IsScarce => _out > _leases.Length / 2;

    /// <summary>The carrier: the lease that a read event brought, with its data.</summary>
    public ReceiveSegment Take(in ChannelEvent channelEvent)
    {
        Lease lease = _leases[channelEvent.Lease] ?? Make(channelEvent.Lease);
        lease.Fill(channelEvent.Result);
        if (++_out >= _leases.Length * 3 / 4)
        {
            _low = true;
        }

        return lease;
    }

    private Lease Make(uint number)
    {
        try
        {
            return _leases[number] = new Lease(this, _native.Buffer(number));
        }
        catch (OutOfMemoryException)
        {
            _native.Release(number); // the connection ends, the buffer stays
            throw;
        }
    }

    /// <summary>The carrier: gives a lease back at once.</summary>
    public void ReturnNow(ReceiveSegment lease)
    {
        _out--;
        lease.Reset();
        _native.Release(((Lease)lease).Number);
    }

    /// <summary>
    /// Any thread: gives a lease back at the carrier's next turn, which is made to come when leases are low.
    /// </summary>
    private void Return(Lease lease)
    {
        lease.Reset();
        Lease? newest = Volatile.Read(ref _returned);
        while (true)
        {
            lease.NextReturned = newest;
            Lease? seen = Interlocked.CompareExchange(ref _returned, lease, newest);
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

        Lease? lease = Interlocked.Exchange(ref _returned, null);
        while (lease is not null)
        {
            Lease? next = lease.NextReturned;
            lease.NextReturned = null;
            _out--;
            _native.Release(lease.Number);
            lease = next;
        }

        if (_low && _out < _leases.Length / 2)
        {
            _low = false;
        }
    }

    /// <summary>A receive buffer, made once and used again for the channel's life.</summary>
    private sealed class Lease(LeasePool pool, LeasedBuffer buffer) : ReceiveSegment
    {
        private readonly Memory<byte> _available = buffer.Memory;

        public uint Number => buffer.Lease;

        public override bool IsLease => true;

        /// <summary>The next older one that was returned.</summary>
        public Lease? NextReturned { get; set; }

        /// <summary>The kernel put <paramref name="bytes"/> into the buffer.</summary>
        public void Fill(int bytes) => Memory = _available[..bytes];

        public override void Return() => pool.Return(this);
    }
}
