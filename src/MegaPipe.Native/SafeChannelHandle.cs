// Owns the native channel, so that it is destroyed once, also when nobody disposed it.
using System.Runtime.InteropServices;

namespace MegaPipe.Native;

/// <summary>Owner of a struct mp_channel.</summary>
internal sealed class SafeChannelHandle : SafeHandle
{
    internal SafeChannelHandle(nint channel)
        : base(0, ownsHandle: true)
    {
        SetHandle(channel);
    }

    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        NativeMethods.mp_destroy(handle);
        return true;
    }
}
