// Addresses of memory that does not move, for projects that are compiled without `unsafe`.
using System.Buffers;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MegaPipe.Native;

/// <summary>Addresses of memory that does not move.</summary>
internal static unsafe class PinnedMemory
{
    /// <summary>The address behind a pin. Valid until the pin is disposed.</summary>
    public static nint AddressOf(in MemoryHandle pin) => (nint)pin.Pointer;

    /// <summary>
    /// The address of memory that is pinned for its whole life: a lease, native memory, a block of Kestrel's pool, an
    /// array on the pinned heap. Of other memory the address is stale as soon as the collector runs.
    /// </summary>
    public static nint AddressOf(ReadOnlySpan<byte> pinned) =>
        (nint)Unsafe.AsPointer(ref MemoryMarshal.GetReference(pinned));

    /// <summary>The bytes at an address, as long as their owner keeps them.</summary>
    public static Span<byte> SpanAt(nint address, int bytes) => new((void*)address, bytes);
}
