// A block of memory that a connection's writer fills and the kernel sends from.
using System.Buffers;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Pipes;

/// <summary>A block of a writer: filled to <see cref="Filled"/>, sent to <see cref="Sent"/>.</summary>
internal sealed class SendSegment
{
    /// <summary>What the memory pool's blocks hold; of a pool with larger ones, so much is asked for.</summary>
    public const int PoolBytes = 4096;

    /// <summary>Bytes of a block where the pool's are too small, at least: a long response needs fewer.</summary>
    private const int LargeBytes = 64 * 1024;

    private IMemoryOwner<byte>? _owner;
    private byte[]? _array;
    private MemoryHandle _pin;

    public Memory<byte> Memory { get; private set; }

    /// <summary>Where the block lies; it does not move until it is returned.</summary>
    public nint Address { get; private set; }

    public int Filled { get; set; }

    public int Sent { get; set; }

    public SendSegment? Next { get; set; }

    /// <summary>Writes whose event has come and from which the kernel may still send bytes of this block.</summary>
    public int Holds { get; set; }

    /// <summary>The writer has done with it; the last hold gives its memory back.</summary>
    public bool IsLeft { get; set; }

    public int Room => Memory.Length - Filled;

    /// <summary>
    /// A block of <paramref name="pool"/>, or a larger one where that is asked for or needed: pinned for life, or of
    /// the shared array pool, as the standard pipe's, and pinned while it is here.
    /// </summary>
    public void Rent(MemoryPool<byte> pool, int bytes, bool large)
    {
        IMemoryOwner<byte>? owner = large || bytes > pool.MaxBufferSize
            ? LargeBlock.TryRent(bytes)
            : pool.Rent(Math.Min(PoolBytes, pool.MaxBufferSize));
        _owner = owner;
        _array = owner is null ? ArrayPool<byte>.Shared.Rent(Math.Max(bytes, LargeBytes)) : null;
        Memory = owner?.Memory ?? _array;
        _pin = Memory.Pin();
        Address = PinnedMemory.AddressOf(in _pin);
    }

    /// <summary>Gives the memory back; the segment itself can be used again.</summary>
    public void Return()
    {
        _pin.Dispose();
        _owner?.Dispose();
        _owner = null;
        if (_array is not null)
        {
            ArrayPool<byte>.Shared.Return(_array);
            _array = null;
        }

        Memory = default;
        Address = 0;
        Filled = Sent = 0;
        IsLeft = false;
        Next = null;
    }
}
