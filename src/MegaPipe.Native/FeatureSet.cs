// The managed mirror of struct mp_features: mp_probe's answer.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text;

namespace MegaPipe.Native;

/// <summary>A mechanism that kernels and containers have or have not; the number is its bit in the answer.</summary>
internal enum Feature
{
    Ring = 0,
    LeasedRead = 1,
    LwSocket = 2,
    Transfer = 3,
    SingleThread = 4,
    FdInstall = 5,
    NoIoWait = 6,
    DirectWake = 7,
    PromptClose = 8,
    ZeroCopy = 9,
    BusyPoll = 10,
}

/// <summary>mp_probe's answer.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct FeatureSet
{
    public const int Count = 11;
    public const int ReasonBytes = 160;

    /// <summary>Bytes of this struct, set by the caller.</summary>
    public uint Size;

    /// <summary>One bit per <see cref="Feature"/>.</summary>
    public uint Available;

    /// <summary>Why not, and what to do: one zero-terminated text per feature.</summary>
    public ReasonTexts Reasons;

    public FeatureSet()
    {
        Size = (uint)Unsafe.SizeOf<FeatureSet>();
    }

    public readonly bool Has(Feature feature) => (Available & (1u << (int)feature)) != 0;

    /// <summary>The reason for a missing feature; null when there is none.</summary>
    public readonly string? ReasonOf(Feature feature)
    {
        ReadOnlySpan<byte> text = ((ReadOnlySpan<byte>)Reasons).Slice((int)feature * ReasonBytes, ReasonBytes);
        int end = text.IndexOf((byte)0);
        text = end < 0 ? text : text[..end];
        return text.IsEmpty ? null : Encoding.UTF8.GetString(text);
    }

    /// <summary>The texts' memory.</summary>
    [InlineArray(Count * ReasonBytes)]
    public struct ReasonTexts
    {
        private byte _first;
    }
}
