// The blocks of a write that the kernel sends from without copying them.
using MegaPipe.Kestrel.Internal.Channels;

namespace MegaPipe.Kestrel.Internal.Pipes;

/// <summary>
/// Which blocks of a writer the kernel has. Under the writer's lock: they may be released by another carrier than the
/// writer's, and after its connection's end.
/// </summary>
internal sealed class HeldWrite(CoalescingPipeWriter writer) : SendHold
{
    public List<SendSegment> Blocks { get; } = [];

    public override void Release(bool copied) => writer.Released(this, copied);
}
