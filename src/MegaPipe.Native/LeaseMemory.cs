// Keeps the memory of a channel's receive buffers as long as managed code can reach one of them.
using System.Runtime.InteropServices;

namespace MegaPipe.Native;

/// <summary>
/// A hold on the memory of the receive buffers. It ends when nothing refers to it any more. So a buffer that is
/// still referred to can be read after the channel is gone.
/// </summary>
/// <remarks>
/// A span alone does not hold: the collector does not see what native memory it points into. Code that reads a
/// connection reaches its channel, and so its buffers, from there. A span that nothing else refers to reads zeros or
/// newer data and does not fault: the library never takes the addresses away (mp_drop_memory).
/// </remarks>
internal sealed class LeaseMemory : SafeHandle
{
    internal LeaseMemory(nint channel)
        : base(0, ownsHandle: true) => SetHandle(NativeMethods.mp_hold_memory(channel));

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        NativeMethods.mp_drop_memory(handle);
        return true;
    }
}
