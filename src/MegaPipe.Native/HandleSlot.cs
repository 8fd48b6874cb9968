// The one place in C# that knows how a handle is made up; LayoutTests compares it with native/src/token.h.
namespace MegaPipe.Native;

/// <summary>The slot of a handle: a small number that no other live handle of the channel has.</summary>
internal static class HandleSlot
{
    public const int Bits = 24;

    private const int Mask = (1 << Bits) - 1;

    public static int Of(long handle) => (int)handle & Mask;
}
