// Memory of a caller's own kind: not an array, counted while it is pinned, and it may fail in each way.
using System.Buffers;
using System.Reflection;
using System.Runtime.InteropServices;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Tests.Support;

/// <summary>As one over native memory. It does not move, so a test sees a missing pin by <see cref="Pins"/>.</summary>
internal sealed class CallersMemory : MemoryManager<byte>
{
    /// <summary>Takes a pointer, for which reflection takes a number, too.</summary>
    private static readonly ConstructorInfo s_makeHandle = typeof(MemoryHandle).GetConstructors().Single();

    private readonly byte[] _array;
    private int _pins;

    public CallersMemory(int bytes) => _array = GC.AllocateArray<byte>(bytes, pinned: true);

    public nint Address => PinnedMemory.AddressOf(_array);

    public int Pins => Volatile.Read(ref _pins);

    public bool PinThrows { get; set; }

    /// <summary>As managers without an address may answer.</summary>
    public bool PinsNowhere { get; set; }

    public bool UnpinThrows { get; set; }

    public override Span<byte> GetSpan() => _array;

    public override MemoryHandle Pin(int elementIndex = 0)
    {
        if (PinThrows)
        {
            throw new Fault();
        }

        Interlocked.Increment(ref _pins);
        nint address = PinsNowhere ? 0 : Address + elementIndex;
        return (MemoryHandle)s_makeHandle.Invoke([address, default(GCHandle), this]);
    }

    public override void Unpin()
    {
        Interlocked.Decrement(ref _pins);
        if (UnpinThrows)
        {
            throw new Fault();
        }
    }

    protected override void Dispose(bool disposing)
    {
    }

    public sealed class Fault : Exception;
}
