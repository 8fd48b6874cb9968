// Large bodies without a copy of ours: the kernel puts what the socket holds into the memory that the caller of a
// stream brings.
//
// Leases are best for what is small and for connections that wait: the read stays armed and takes what comes. A stream
// of data fills many of them, and each byte is copied once more. So where data comes in streams and the caller has room
// for much of it, the read that is armed takes one piece only. Behind it the rest stays in the socket, and the next
// read takes it there (mp_read_now):
//
//   one piece has come, the socket holds more  →  nothing is armed; the application may ask     (OnLease)
//   it asks with memory of its own             →  pinned; the carrier makes the request         (TryReceive, TryTake)
//   the request's event                        →  unpinned; more: as above, none: read one      (OnReceived)
//   it has not asked when its turn is over     →  read one: an end is never waited for in vain  (TryArm)
//
// The kernel answers such a request as soon as it gets it, whatever the peer does. So nothing of it needs to be
// canceled: a token, an abort and a dispose wait for the event, which comes within the turn.
using System.Buffers;
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.ExceptionServices;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Pipes;

internal sealed partial class LeasePipeReader
{
    /// <summary>
    /// Room from which on a copy costs more than a request: 16 KiB are copied in two microseconds where they are in no
    /// near cache, and a record of TLS.
    /// </summary>
    private const int Large = 16 * 1024;

    /// <summary>Full leases in a row after which a connection's data comes in streams.</summary>
    private const int FullLeases = 4;

    /// <summary>Pieces in a row behind which nobody asked for more: a connection of small answers again.</summary>
    private const int VainPieces = 16;

    /// <summary>Made when a stream receives for the first time: accepted connections have none.</summary>
    private PendingReceive? _receive;

    // Under the lock.
    private bool _more;    // nothing is armed, and the socket held more behind what has come
    private bool _large;   // the application has brought much room
    private int _vain;

    // The carrier's.
    private bool _inKernel;
    private bool _onePiece; // which kind of read is armed
    private bool _tellsRest;
    private int _full;

    /// <summary>The carrier: the next read that is armed is to take one piece only.</summary>
    public bool TakesOnePiece => _onePiece;

    /// <summary>Under the lock: somebody awaits a receive, or is about to get its result.</summary>
    private bool IsReceiving => _receive is { IsPending: true };

    /// <summary>
    /// Reads past the leases, where that is to be had at the moment: nothing is in them, and the socket holds more. The
    /// number of bytes that are in <paramref name="buffer"/> then; an awaited 0 says to read in the ordinary way, and
    /// one for a buffer of nothing that there is something. false: not to be had.
    /// </summary>
    public bool TryReceive(Memory<byte> buffer, CancellationToken cancellationToken, out ValueTask<int> bytes)
    {
        bytes = default;
        bool large = buffer.Length >= Large;
        if (large && !_large)
        {
            Volatile.Write(ref _large, true);
        }

        // Looked at without the lock: the application reads, so what it sees is as old as its last result at most.
        if (!Volatile.Read(ref _more) || cancellationToken.IsCancellationRequested ||
            (buffer.Length < _channel.Native.BufferBytes && !buffer.IsEmpty))
        {
            return false;
        }

        if (buffer.IsEmpty)
        {
            lock (_pending)
            {
                return CanReceive;
            }
        }

        if (!TryPin(buffer, out MemoryHandle pin))
        {
            return false;
        }

        bool begun = false;
        try
        {
            lock (_pending)
            {
                if (CanReceive)
                {
                    _vain = 0;
                    _receive ??= new PendingReceive(this, _pending.Cost, _channel.Scheduling);
                    _receive.Pin = pin;
                    _receive.Room = buffer.Length;
                    _receive.Begin(default);
                    begun = true;
                }
            }
        }
        finally
        {
            if (!begun)
            {
                pin.Dispose();
            }
        }

        if (!begun)
        {
            return false;
        }

        _connection.Ask(ConnectionAsks.Receive);
        bytes = _receive!.Await();
        if (!bytes.IsCompleted)
        {
            return true;
        }

        // The carrier was faster. 0 is no end then, either.
        int received = bytes.GetAwaiter().GetResult();
        bytes = new ValueTask<int>(received);
        return received > 0;
    }

    /// <summary>Under the lock: what the socket holds may go past the leases.</summary>
    private bool CanReceive =>
        _more && _data.IsEmpty && !HasResult && !_completed && !_pending.IsPending && !IsReceiving;

    /// <summary>
    /// The caller's code, so not under the lock. Memory that cannot be pinned is no error: the ordinary way needs no
    /// address, as the runtime's sockets need none.
    /// </summary>
    [SuppressMessage("Design", "CA1031", Justification = "See above.")]
    private static bool TryPin(Memory<byte> buffer, out MemoryHandle pin)
    {
        pin = default;
        try
        {
            pin = buffer.Pin();
            if (PinnedMemory.AddressOf(in pin) != 0)
            {
                return true;
            }

            pin.Dispose();
            return false;
        }
        catch (Exception)
        {
            return false;
        }
    }

    /// <summary>
    /// The carrier, when it is asked to receive: the memory to receive into, pinned until the event. false: nobody
    /// asks, or it is too late, which this then tells: reading has ended (<paramref name="open"/> is false), or the
    /// application has completed the reader.
    /// </summary>
    public bool TryTake(bool open, out nint address, out int length)
    {
        address = length = 0;
        bool release;
        lock (_pending)
        {
            if (_receive is not { IsWaiting: true } || _inKernel)
            {
                return false;
            }

            if (open && !_completed && !IsEnded)
            {
                address = PinnedMemory.AddressOf(_receive.Pin);
                length = _receive.Room;
                _more = false;
                _inKernel = true;
                return true;
            }

            _receive.Received = 0;
            release = _receive.TryRelease();
        }

        Debug.Assert(release);
        _receive.Unpin();
        _channel.Schedule(_receive);
        return false;
    }

    /// <summary>
    /// The carrier: whether it is to arm a read. Not while the application asks for what there is, nor
    /// (<paramref name="held"/>) while it has too much unread.
    /// </summary>
    public bool TryArm(out bool held)
    {
        lock (_pending)
        {
            held = false;
            if (_receive is { IsWaiting: true } || _pressure.Flow != ReadFlow.Idle)
            {
                return false;
            }

            _more = false;
            held = !_completed && !_pending.IsWaiting && _pressure.TryHold(_data.Unexamined);
            return !held;
        }
    }

    private void OnLease(in ChannelEvent channelEvent)
    {
        bool ends = !channelEvent.HasMore;
        if (ends)
        {
            _pressure.Rest();
        }

        Append(_channel.Leases.Take(in channelEvent), ends && channelEvent.HasRest);
        if (ends)
        {
            NotePiece();
            _connection.OnReadRests(channelEvent.HasRest);
        }
        else if (!_onePiece && ComesInStreams(in channelEvent) && _pressure.TryRenew())
        {
            _onePiece = true;
            _connection.RenewReading();
        }
    }

    private bool ComesInStreams(in ChannelEvent channelEvent)
    {
        if (!Volatile.Read(ref _large))
        {
            return false;
        }

        _tellsRest |= channelEvent.HasRest;
        _full = channelEvent.Result == _channel.Native.BufferBytes ? _full + 1 : 0;
        return _full >= FullLeases && _tellsRest;
    }

    private void NotePiece()
    {
        lock (_pending)
        {
            if (++_vain < VainPieces)
            {
                return;
            }

            _vain = 0;
            _large = false;
        }

        _onePiece = false;
        _full = 0;
    }

    /// <summary>
    /// The carrier: the event of a receive, if it is one. true when that is all that it says: an end or an error is
    /// still to be told.
    /// </summary>
    private bool OnReceived(in ChannelEvent channelEvent)
    {
        if (!_inKernel)
        {
            return false;
        }

        int result = channelEvent.Result;
        bool goesOn = result > 0 || result == ChannelError.TryAgain;
        PendingReceive receive = _receive!;
        _inKernel = false;
        receive.Unpin();
        if (goesOn)
        {
            _pressure.Rest();
        }

        bool release;
        lock (_pending)
        {
            _more = goesOn && channelEvent.HasRest;
            receive.Received = Math.Max(result, 0);
            _taken |= result > 0;
            release = receive.TryRelease();
        }

        Debug.Assert(release);
        _channel.Schedule(receive);
        if (goesOn)
        {
            _connection.OnReadRests(channelEvent.HasRest);
        }

        return goesOn;
    }

    /// <summary>The awaited receive, and the memory that it goes to. No token: see above.</summary>
    private sealed class PendingReceive(LeasePipeReader reader, ContinuationCost cost, ChannelScheduling scheduling)
        : PendingOperation<int>(cost, scheduling, sync: reader._pending)
    {
        private MemoryHandle _pin;
        private ExceptionDispatchInfo? _fault;

        /// <summary>From the request of the application to its answer.</summary>
        public ref MemoryHandle Pin => ref _pin;

        public int Room { get; set; }

        /// <summary>What the awaiter gets.</summary>
        public int Received { get; set; }

        /// <summary>May be the caller's code: what it throws is the caller's, and the carrier goes on.</summary>
        [SuppressMessage("Design", "CA1031", Justification = "The awaiter gets it.")]
        public void Unpin()
        {
            try
            {
                _pin.Dispose();
            }
            catch (Exception error)
            {
                _pin = default;
                _fault = ExceptionDispatchInfo.Capture(error);
            }
        }

        protected override int Finish(CancellationToken token)
        {
            ExceptionDispatchInfo? fault = _fault;
            _fault = null;
            fault?.Throw();
            return Received;
        }
    }
}
