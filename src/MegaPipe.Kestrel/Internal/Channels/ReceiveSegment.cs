// A piece of received data in a reader's sequence.
using System.Buffers;

namespace MegaPipe.Kestrel.Internal.Channels;

/// <summary>
/// A link of the sequence. Its memory is a lease of the channel's buffers (<see cref="LeasePool"/>), or of a memory
/// pool (ReceivedData).
/// </summary>
internal abstract class ReceiveSegment : ReadOnlySequenceSegment<byte>
{
    public abstract bool IsLease { get; }

    /// <summary>Bytes of data.</summary>
    public int Length => Memory.Length;

    /// <summary>Where it begins, counted from the connection's first byte.</summary>
    public long Position
    {
        get => RunningIndex;
        set => RunningIndex = value;
    }

    public ReceiveSegment? NextSegment
    {
        get => (ReceiveSegment?)Next;
        set => Next = value;
    }

    /// <summary>Gives the memory back to where it came from. Any thread.</summary>
    public abstract void Return();

    /// <summary>Before the memory is given back: nothing refers to it through this segment any more.</summary>
    public void Reset()
    {
        Next = null;
        RunningIndex = 0;
        Memory = default;
    }
}
