// Memory that the kernel sends from without copying it: the channel has it until the kernel gives it back, longer than
// the connection, whose peer may take its time to acknowledge what it got.
using System.Diagnostics;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Channels;

/// <summary>A write's memory, from the request to the kernel's last word on it.</summary>
internal abstract class SendHold
{
    /// <summary>By which the ring knows it.</summary>
    public ulong Number { get; set; }

    public int Bytes { get; set; }

    /// <summary>
    /// A carrier, of the channel where the write was made: the memory is free. <paramref name="copied"/>: the kernel
    /// has copied the bytes all the same.
    /// </summary>
    public abstract void Release(bool copied);
}

/// <summary>The holds of a channel. For its carrier, but for the counters.</summary>
/// <param name="always">What was copied changes nothing, for tests on loopback.</param>
internal sealed class SendHolds(bool always)
{
    /// <summary>Beyond it writes are copied. Connections that are gone count, too: their peers may be slow.</summary>
    public const long MaxBytes = 64 << 20;

    /// <summary>Fewer than the ring has room for (MP_HOLDS).</summary>
    private const int MaxCount = 1_000;

    /// <summary>Writes in a row that were copied, after which the channel rests...</summary>
    private const int CopiedInRowAtRest = 16;

    /// <summary>...for so many large writes: local clients may come before others do.</summary>
    private const int RestWrites = 1_000;

    private const int DrainMs = 2_000;
    private const long DrainStepNanoseconds = 10_000_000;

    // What the kernel had when its channel ended. It may send from it again: nobody may write there any more.
    private static readonly List<SendHold> s_lost = [];

    private readonly SendHold?[] _held = new SendHold?[MaxCount];
    private readonly Stack<int> _free = new();
    private int _used;
    private int _copiedInRow;
    private int _rest;

    /// <summary>Writes that asked for it.</summary>
    public long WriteCount;

    /// <summary>Those that were copied all the same.</summary>
    public long CopiedCount;

    /// <summary>Bytes that the kernel has.</summary>
    public long Bytes;

    private int Count => _used - _free.Count;

    /// <summary>Whether a write of <paramref name="bytes"/> is to be tried without a copy.</summary>
    public bool Allows(int bytes)
    {
        if (_rest > 0)
        {
            _rest--;
            return false;
        }

        return Bytes + bytes <= MaxBytes && Count < MaxCount;
    }

    public void Add(SendHold hold)
    {
        Debug.Assert(Count < MaxCount);
        int slot = _free.TryPop(out int free) ? free : _used++;
        _held[slot] = hold;
        hold.Number = (ulong)slot;
        Bytes += hold.Bytes;
        WriteCount++;
    }

    /// <summary>The write was not made, or has ended and the kernel has nothing of it.</summary>
    public void End(SendHold hold, bool copied)
    {
        int slot = (int)hold.Number;
        Debug.Assert(ReferenceEquals(_held[slot], hold));
        _held[slot] = null;
        _free.Push(slot);
        Bytes -= hold.Bytes;
        CopiedCount += copied ? 1 : 0;
        copied &= !always;
        _copiedInRow = copied ? _copiedInRow + 1 : 0;
        if (_copiedInRow >= CopiedInRowAtRest)
        {
            _rest = RestWrites; // then one is tried, and if it is copied, too, the next rest begins
        }

        hold.Release(copied);
    }

    /// <summary>The kernel gives memory back.</summary>
    public void OnReleased(in ChannelEvent channelEvent) =>
        End(_held[(int)channelEvent.Data]!, channelEvent.IsCopied);

    /// <summary>
    /// The channel's last carrier, which has no handles left: waits a while for what peers have not acknowledged. What
    /// is not given back by then stays out of use for ever.
    /// </summary>
    public void Drain(Channel native, ChannelEvent[] events)
    {
        long end = Environment.TickCount64 + DrainMs;
        while (Count > 0 && Environment.TickCount64 < end)
        {
            int count = native.Dispatch(events, DrainStepNanoseconds);
            for (int i = 0; i < count; i++)
            {
                if (events[i].IsReleased)
                {
                    OnReleased(in events[i]);
                }
            }
        }

        lock (s_lost)
        {
            s_lost.AddRange(_held.OfType<SendHold>());
        }
    }
}
