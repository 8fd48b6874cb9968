// A channel's life: creation, the batch in and out, waking, counters, the end. Channel.Requests.cs has the requests and
// Channel.Addresses.cs what can be asked about a handle.
using System.Runtime.CompilerServices;

namespace MegaPipe.Native;

/// <summary>
/// One ring with its handle table, receive buffers and batches (the paper's channel). No call allocates, except those
/// that return end points and <see cref="Create"/>.
/// </summary>
/// <remarks>
/// <para>Threads: the carrier calls everything, except <see cref="Wake"/>, <see cref="ReadCounters"/> and
/// <see cref="Buffer"/>, which any thread may call at any time. The carrier may change between two calls; who changes
/// it orders the two threads. Threads that carried a channel live at least as long as the channel.</para>
/// <para>Lifetime: carrier calls use the raw pointer, without the reference counting of a SafeHandle (two interlocked
/// operations per request). So the owner disposes the channel only after its last carrier left, and keeps it reachable
/// while one is inside. A carrier call after that throws <see cref="ObjectDisposedException"/>.</para>
/// <para>Results are those of the C functions: not negative, or a negative errno for <see cref="ChannelError"/>.</para>
/// </remarks>
internal sealed unsafe partial class Channel : IDisposable
{
    /// <summary>The header's default for <see cref="ChannelConfig.BufferBytes"/>, in bytes.</summary>
    public const uint DefaultBufferBytes = 4096;

    /// <summary>The header's default for <see cref="ChannelConfig.BatchThreshold"/>, in requests.</summary>
    public const uint DefaultBatchThreshold = 32;

    private readonly SafeChannelHandle _handle;
    // Made when a buffer is filled first: most of a channel's never are.
    private readonly LeasedBuffer?[] _buffers;
    private readonly LeaseMemory _memory;
    private readonly nint _firstBuffer;
    private readonly int _bufferBytes;
    private readonly uint _batchThreshold;
    private nint _channel;

    // Requests since the last flush or dispatch; see Filled.
    private uint _filled;

    // Callers of any-thread functions that are inside; below zero once the channel is being disposed.
    private int _visitors;
    private bool _disposed;

    private Channel(nint channel, uint batchThreshold, int bufferBytes)
    {
        _batchThreshold = batchThreshold;
        _handle = new SafeChannelHandle(channel);
        _channel = channel;
        _memory = new LeaseMemory(channel);
        _firstBuffer = NativeMethods.mp_lease_address(channel, 0);
        _bufferBytes = bufferBytes;
        _buffers = new LeasedBuffer?[CountBuffers(channel)];
    }

    /// <summary>The number of receive buffers, and so of leases that can be out at a time.</summary>
    public int BufferCount => _buffers.Length;

    /// <summary>The size of each, in bytes.</summary>
    public int BufferBytes => _bufferBytes;

    public bool IsDisposed => _channel == 0;

    /// <summary>Creates a channel; on its carrier's CPU, since memory is placed by who touches it first.</summary>
    /// <exception cref="PlatformNotSupportedException">See <see cref="MegaPipeFeatures.Reason"/>.</exception>
    /// <exception cref="System.Net.Sockets.SocketException">
    /// Out of range, out of memory or out of descriptors.
    /// </exception>
    public static Channel Create(in ChannelConfig config)
    {
        int result = TryCreate(config, out Channel? channel);
        return channel ?? throw ChannelError.ToException(result, "Creating a channel");
    }

    /// <summary>As <see cref="Create"/>, with the error as a value: 0 or a negative errno.</summary>
    public static int TryCreate(in ChannelConfig config, out Channel? channel)
    {
        NativeLibraryLoader.EnsureRegistered();
        ChannelConfig copy = config;
        copy.Size = (uint)sizeof(ChannelConfig);
        copy.BufferBytes = copy.BufferBytes == 0 ? DefaultBufferBytes : copy.BufferBytes;
        uint threshold = copy.BatchThreshold == 0 ? DefaultBatchThreshold : copy.BatchThreshold;
        copy.BatchThreshold = uint.MaxValue; // see Filled
        nint pointer;
        int result = NativeMethods.mp_create(&copy, &pointer);
        channel = result < 0 ? null
            : new Channel(pointer, threshold, (int)copy.BufferBytes);
        return result;
    }

    /// <summary>An array for <see cref="Dispatch"/> that does not move, so that waiting pins nothing.</summary>
    public static ChannelEvent[] AllocateEvents(int capacity) =>
        GC.AllocateUninitializedArray<ChannelEvent>(capacity, pinned: true);

    /// <summary>
    /// Gives the batch to the kernel and takes the next events. Waits up to <paramref name="timeoutNanoseconds"/> for
    /// the first (0: does not wait; negative: no limit). The number of events, 0 after a time-out, a signal or a wake;
    /// or a negative errno when the ring is broken.
    /// </summary>
    public int Dispatch(Span<ChannelEvent> events, long timeoutNanoseconds)
    {
        nint channel = Pointer;
        int count;
        _filled = 0;
        fixed (ChannelEvent* first = events)
        {
            count = NativeMethods.mp_dispatch(channel, first, (uint)events.Length, timeoutNanoseconds);
        }

        // Nobody else may hold this object while its thread sleeps in the kernel.
        GC.KeepAlive(this);
        return count;
    }

    /// <summary>
    /// Gives the batch to the kernel without waiting. The number of requests given, or a negative errno.
    /// </summary>
    public int Flush()
    {
        _filled = 0;
        return NativeMethods.mp_flush(Pointer);
    }

    /// <summary>
    /// Makes the current or next <see cref="Dispatch"/> return without waiting. Any thread, any time; false when the
    /// channel is disposed.
    /// </summary>
    public bool Wake()
    {
        if (!TryVisit())
        {
            return false;
        }

        NativeMethods.mp_wake(_channel);
        Leave();
        return true;
    }

    /// <summary>
    /// How <see cref="Dispatch"/> waits: awake for <paramref name="spin"/> first, at most in so many channels of the
    /// process at a time. Before the first carrier, or by it.
    /// </summary>
    public void SetWait(TimeSpan spin, int mostSpinners)
    {
        int result = NativeMethods.mp_set_wait(Pointer, (uint)spin.TotalNanoseconds, (uint)mostSpinners);
        if (result < 0)
        {
            throw ChannelError.ToException(result, "Setting how a channel waits");
        }
    }

    /// <summary>The carrier waits awake. Any thread, any time.</summary>
    public bool IsSpinning
    {
        get
        {
            if (!TryVisit())
            {
                return false;
            }

            bool spinning = NativeMethods.mp_is_spinning(_channel) != 0;
            Leave();
            return spinning;
        }
    }

    /// <summary>Copies the counters. Any thread, any time; false when the channel is disposed.</summary>
    public bool ReadCounters(ref ChannelCounters counters)
    {
        if (!TryVisit())
        {
            return false;
        }

        fixed (ChannelCounters* target = &counters)
        {
            NativeMethods.mp_read_counters(_channel, target);
        }

        Leave();
        return true;
    }

    /// <summary>
    /// Destroys the channel on this thread, which must be allowed to carry it: closes every handle without events and
    /// waits until the kernel has given all memory back. Leases that are out stay readable for those who have them.
    /// </summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, true))
        {
            return;
        }

        // Ends, because a visitor only copies counters or writes to an eventfd.
        Interlocked.Add(ref _visitors, int.MinValue);
        SpinWait wait = default;
        while (Volatile.Read(ref _visitors) != int.MinValue)
        {
            wait.SpinOnce();
        }

        _channel = 0;
        _handle.Dispose();
    }

    /// <summary>The raw channel for a carrier's call.</summary>
    private nint Pointer
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get
        {
            nint channel = _channel;
            if (channel == 0)
            {
                ThrowDisposed();
            }

            return channel;
        }
    }

    /// <summary>
    /// After each request: the paper's first flush rule, threshold reached. It is kept here and not in the library, so
    /// that a request function makes no system call (only one that finds the queue full does) and may leave out the
    /// switch out of managed mode, while the flush, which can take 100 µs, lets the collector go on.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private int Filled(int result)
    {
        if (++_filled >= _batchThreshold)
        {
            // What the kernel does not take now goes with the next batch.
            Flush();
        }

        return result;
    }

    /// <summary>The count is the library's own default where the configuration has none.</summary>
    private static uint CountBuffers(nint channel)
    {
        uint count = 0;
        while (NativeMethods.mp_lease_address(channel, count) != 0)
        {
            count++;
        }

        return count;
    }

    private bool TryVisit()
    {
        if (Interlocked.Increment(ref _visitors) > 0)
        {
            return true;
        }

        Leave();
        return false;
    }

    private void Leave() => Interlocked.Decrement(ref _visitors);

    private void ThrowDisposed() => throw new ObjectDisposedException(nameof(Channel));
}
