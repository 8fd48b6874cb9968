// Each function of megapipe.h, once, in the header's order. Call them only where NativeLibraryLoader has found the
// library: through Channel and what a channel made (its handle, its memory), MegaPipeFeatures and ChannelError.
using System.Runtime.InteropServices;

namespace MegaPipe.Native;

/// <summary>The C functions. Contracts are in native/include/megapipe.h.</summary>
/// <remarks>
/// <c>SuppressGCTransition</c> skips the GC transition (about 7 ns per call); the GC cannot run until the call returns.
/// Used only for calls that fill a request or read memory, which takes well under a microsecond: a request that reaches
/// the batch threshold is flushed by <see cref="Channel"/>, not by the request function. Not used for calls that make a
/// system call of their own (create, destroy, register, connect, flush, dispatch, wake, fd and address queries) or
/// reach into another channel (transfer).
/// </remarks>
internal static unsafe partial class NativeMethods
{
    public const string Library = "megapipe";

    /// <summary>The MP_ABI_VERSION that these signatures and the mirrors were written for.</summary>
    public const uint AbiVersion = 2;

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial uint mp_abi_version();

    [LibraryImport(Library)]
    public static partial byte* mp_error_text(int error);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial byte* mp_feature_name(uint feature);

    [LibraryImport(Library)]
    public static partial int mp_probe(FeatureSet* features);

    [LibraryImport(Library)]
    public static partial int mp_create(ChannelConfig* config, nint* channel);

    [LibraryImport(Library)]
    public static partial void mp_destroy(nint channel);

    [LibraryImport(Library)]
    public static partial long mp_register(nint channel, int fd, ulong cookie, ulong cpuMask, uint backlog);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_unregister(nint channel, long handle);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_accept(nint channel, long listener, uint count, uint flags);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_accept_stop(nint channel, long listener);

    [LibraryImport(Library)]
    public static partial long mp_connect(nint channel, byte* address, uint addressBytes, ulong cookie, uint flags);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_set_cookie(nint channel, long handle, ulong cookie);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_peer_address(nint channel, long handle, byte* address, uint capacity);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_read(nint channel, long handle, nint buffer, uint bytes);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_read_now(nint channel, long handle, nint buffer, uint bytes);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_read_start(nint channel, long handle);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_read_one(nint channel, long handle);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_read_pause(nint channel, long handle);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_release(nint channel, uint lease);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial nint mp_lease_address(nint channel, uint lease);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial nint mp_hold_memory(nint channel);

    [LibraryImport(Library)]
    public static partial void mp_drop_memory(nint memory);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_write(nint channel, long handle, nint buffer, uint bytes);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_writev(nint channel, long handle, nint vectors, uint count);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_write_held(nint channel, long handle, nint vectors, uint count, ulong memory);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_disconnect(nint channel, long handle, uint how);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_close(nint channel, long handle, uint flags);

    [LibraryImport(Library)]
    public static partial int mp_to_fd(nint channel, long handle);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_peek_fd(nint channel, long handle);

    [LibraryImport(Library)]
    public static partial int mp_local_address(nint channel, long handle, byte* address, uint capacity);

    [LibraryImport(Library)]
    public static partial int mp_set_option(
        nint channel, long handle, int level, int name, void* value, uint bytes);

    [LibraryImport(Library)]
    public static partial int mp_transfer(nint channel, long handle, nint target, ulong cookie);

    [LibraryImport(Library)]
    public static partial int mp_flush(nint channel);

    [LibraryImport(Library)]
    public static partial int mp_dispatch(nint channel, ChannelEvent* events, uint capacity, long timeoutNanoseconds);

    [LibraryImport(Library)]
    public static partial void mp_wake(nint channel);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_set_wait(nint channel, uint spinNs, uint mostSpinners);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial int mp_is_spinning(nint channel);

    [LibraryImport(Library)]
    [SuppressGCTransition]
    public static partial void mp_read_counters(nint channel, ChannelCounters* counters);

    [LibraryImport(Library)]
    public static partial int mp_thread_times(ulong* cpuNs, ulong* waits);

    [LibraryImport(Library)]
    public static partial int mp_thread_room(uint most);
}
