// A memory pool factory that counts blocks out, to show that a stopped transport has returned every one.
using System.Buffers;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Support;

public sealed class TrackingMemoryPoolFactory : IMemoryPoolFactory<byte>
{
    private int _blocksOut;
    private int _poolsCreated;
    private long _rented;
    private int _refused;
    private volatile bool _refuse;

    /// <summary>While true no memory is to be had.</summary>
    public bool Refuse
    {
        get => _refuse;
        set => _refuse = value;
    }

    /// <summary>Times that it was not.</summary>
    public int Refused => Volatile.Read(ref _refused);

    /// <summary>Bytes of each block; Kestrel's have 4,096.</summary>
    public int BlockBytes { get; init; } = 4096;

    public int BlocksOut => Volatile.Read(ref _blocksOut);

    public int PoolsCreated => Volatile.Read(ref _poolsCreated);

    public long Rented => Volatile.Read(ref _rented);

    public MemoryPool<byte> Create(MemoryPoolOptions? options = null)
    {
        Interlocked.Increment(ref _poolsCreated);
        return new Pool(this);
    }

    private sealed class Pool(TrackingMemoryPoolFactory owner) : MemoryPool<byte>
    {
        public override int MaxBufferSize => owner.BlockBytes;

        public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
        {
            ArgumentOutOfRangeException.ThrowIfGreaterThan(minBufferSize, owner.BlockBytes);
            if (owner._refuse)
            {
                Interlocked.Increment(ref owner._refused);
                throw new InsufficientMemoryException("on purpose");
            }

            Interlocked.Increment(ref owner._blocksOut);
            Interlocked.Increment(ref owner._rented);
            return new Block(owner);
        }

        protected override void Dispose(bool disposing)
        {
        }

        private sealed class Block(TrackingMemoryPoolFactory owner) : IMemoryOwner<byte>
        {
            private readonly byte[] _bytes = GC.AllocateUninitializedArray<byte>(owner.BlockBytes, pinned: true);
            private int _returned;

            public Memory<byte> Memory => Volatile.Read(ref _returned) == 0
                ? _bytes
                : throw new ObjectDisposedException(nameof(Block));

            public void Dispose()
            {
                if (Interlocked.Exchange(ref _returned, 1) == 0)
                {
                    Interlocked.Decrement(ref owner._blocksOut);
                }
            }
        }
    }
}
