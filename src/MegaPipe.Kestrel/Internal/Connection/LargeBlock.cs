// Memory for writes larger than the pool's blocks.
using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;

namespace MegaPipe.Kestrel.Internal;

/// <summary>A pinned array: 64 KiB and kept for reuse, or as large as one request for memory needs.</summary>
internal sealed class LargeBlock : IMemoryOwner<byte>
{
    private const int Bytes = 64 * 1024;

    /// <summary>Blocks kept, 4 MiB in this process; more than that at a time is a burst.</summary>
    private const int MaxKept = 64;

    private static readonly ConcurrentQueue<LargeBlock> s_free = new();

    private LargeBlock(int bytes) => Memory = MemoryMarshal.CreateFromPinnedArray(
        GC.AllocateUninitializedArray<byte>(bytes, pinned: true), 0, bytes);

    public Memory<byte> Memory { get; }

    public static LargeBlock Rent(int bytes) =>
        bytes > Bytes ? new LargeBlock(bytes)
        : s_free.TryDequeue(out LargeBlock? block) ? block
        : new LargeBlock(Bytes);

    public void Dispose()
    {
        if (Memory.Length == Bytes && s_free.Count < MaxKept)
        {
            s_free.Enqueue(this);
        }
    }
}
