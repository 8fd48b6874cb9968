// Pools of pinned blocks: the host's (.NET 10's IMemoryPoolFactory, with its metrics), or a plain one of our own where
// the transport is used without a host.
using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Internal.Pipes;

internal sealed class TransportMemoryPools(IMemoryPoolFactory<byte>? factory)
{
    public MemoryPool<byte> Create() =>
        factory?.Create(new MemoryPoolOptions { Owner = "megapipe" }) ?? new PinnedPool();

    private sealed class PinnedPool : MemoryPool<byte>
    {
        private const int BlockBytes = 4096;

        /// <summary>Blocks kept for reuse, 16 MiB; a burst's memory beyond that goes back to the collector.</summary>
        private const int MaxKept = 4096;

        private readonly ConcurrentQueue<Block> _free = new();

        public override int MaxBufferSize => BlockBytes;

        public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(minBufferSize, BlockBytes);
            return _free.TryDequeue(out Block? block) ? block : new Block(this);
        }

        protected override void Dispose(bool disposing) => _free.Clear();

        private sealed class Block(PinnedPool pool) : IMemoryOwner<byte>
        {
            public Memory<byte> Memory { get; } = MemoryMarshal.CreateFromPinnedArray(
                GC.AllocateUninitializedArray<byte>(BlockBytes, pinned: true), 0, BlockBytes);

            public void Dispose()
            {
                if (pool._free.Count < MaxKept)
                {
                    pool._free.Enqueue(this);
                }
            }
        }
    }
}
