// struct iovec, and native memory for arrays of them: a gathered write's array belongs to the channel until its event,
// so it must not move and must outlive the call.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MegaPipe.Native;

/// <summary>One segment of a gathered write.</summary>
[StructLayout(LayoutKind.Sequential)]
internal readonly struct IoVector(nint address, nuint bytes)
{
    public readonly nint Address = address;
    public readonly nuint Bytes = bytes;
}

/// <summary>
/// An array of <see cref="IoVector"/> in native memory. One owner, no locks. Must not be grown or disposed between
/// <see cref="Channel.WriteVectors(long, IoVectorArray)"/> and its event.
/// </summary>
internal sealed unsafe class IoVectorArray : IDisposable
{
    /// <summary>What one gathered write may have at most (the kernel's UIO_MAXIOV).</summary>
    public const int MaxCount = 1024;

    private IoVector* _vectors;

    public IoVectorArray(int capacity)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(capacity);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(capacity, MaxCount);
        _vectors = (IoVector*)NativeMemory.Alloc((nuint)capacity, (nuint)sizeof(IoVector));
        Capacity = capacity;
    }

    ~IoVectorArray() => Free();

    public int Capacity { get; private set; }

    public int Count { get; private set; }

    /// <summary>Bytes of all segments.</summary>
    public long TotalBytes { get; private set; }

    /// <summary>Where the array lies.</summary>
    public nint Address => (nint)_vectors;

    public ReadOnlySpan<IoVector> Vectors => new(_vectors, Count);

    public void Clear()
    {
        Count = 0;
        TotalBytes = 0;
    }

    /// <summary>Appends a segment; false when the array holds <see cref="MaxCount"/> already.</summary>
    public bool TryAdd(nint address, int bytes)
    {
        ObjectDisposedException.ThrowIf(_vectors == null, this);
        if (Count == Capacity && !TryGrow())
        {
            return false;
        }

        _vectors[Count++] = new IoVector(address, (nuint)bytes);
        TotalBytes += bytes;
        return true;
    }

    public void Dispose()
    {
        Free();
        GC.SuppressFinalize(this);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private bool TryGrow()
    {
        if (Capacity == MaxCount)
        {
            return false;
        }

        Capacity = Math.Min(Capacity * 2, MaxCount);
        _vectors = (IoVector*)NativeMemory.Realloc(_vectors, (nuint)Capacity * (nuint)sizeof(IoVector));
        return true;
    }

    private void Free()
    {
        NativeMemory.Free(_vectors);
        _vectors = null;
        Capacity = Count = 0;
    }
}
