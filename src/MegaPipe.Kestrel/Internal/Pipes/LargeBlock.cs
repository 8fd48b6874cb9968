// Memory for writes larger than the pool's blocks.
using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;

namespace MegaPipe.Kestrel.Internal.Pipes;

/// <summary>
/// A pinned array of 64 KiB. The process makes a bounded number of them and keeps those: an array on the pinned heap
/// counts as old from the start, so one made for each write would bring a full collection every few dozen.
/// </summary>
internal sealed class LargeBlock : IMemoryOwner<byte>
{
    private const int Bytes = 64 * 1024;

    /// <summary>16 MiB.</summary>
    private const int MaxMade = 256;

    private static readonly ConcurrentQueue<LargeBlock> s_free = new();
    private static int s_made;

    private LargeBlock() => Memory = MemoryMarshal.CreateFromPinnedArray(
        GC.AllocateUninitializedArray<byte>(Bytes, pinned: true), 0, Bytes);

    public Memory<byte> Memory { get; }

    /// <summary>null when more is needed or all are in use: the shared array pool has any size.</summary>
    public static LargeBlock? TryRent(int bytes)
    {
        if (bytes > Bytes)
        {
            return null;
        }

        if (s_free.TryDequeue(out LargeBlock? block))
        {
            return block;
        }

        if (Volatile.Read(ref s_made) >= MaxMade)
        {
            return null;
        }

        Interlocked.Increment(ref s_made); // a few more than the bound, where several come at a time
        return new LargeBlock();
    }

    public void Dispose() => s_free.Enqueue(this);
}
