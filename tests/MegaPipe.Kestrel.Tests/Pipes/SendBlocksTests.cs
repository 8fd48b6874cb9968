// Blocks of a writer that the kernel still sends from: each goes back once, when both have done with it.
using System.Buffers;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Pipes;

[Trait("Area", "Pipes")]
public sealed class SendBlocksTests
{
    private const int Bytes = 100;

    private readonly TrackingMemoryPoolFactory _memory = new();

    [Fact]
    public void Released_WriterStillFillsTheBlock_KeepsIt()
    {
        using MemoryPool<byte> pool = _memory.Create();
        SendBlocks blocks = default;
        SendSegment tail = blocks.AddTail(pool, Bytes);
        HeldWrite write = HoldWhatIsWritten(ref blocks);
        nint address = tail.Address;

        SendBlocks.Released(write);

        Assert.Equal(1, _memory.BlocksOut);
        Assert.Equal(address, tail.Address);
        Assert.Equal(Bytes, tail.Filled);
        blocks.ReturnAll();
        Assert.Equal(0, _memory.BlocksOut);
    }

    [Fact]
    public void Released_WriterHasLeftTheBlock_GivesItBackAfterTheLastHold()
    {
        using MemoryPool<byte> pool = _memory.Create();
        SendBlocks blocks = default;
        blocks.AddTail(pool, Bytes);
        HeldWrite first = HoldWhatIsWritten(ref blocks);
        HeldWrite second = HoldWhatIsWritten(ref blocks);

        blocks.ReturnAll();
        Assert.Equal(1, _memory.BlocksOut);
        SendBlocks.Released(second);
        Assert.Equal(1, _memory.BlocksOut);
        SendBlocks.Released(first);
        Assert.Equal(0, _memory.BlocksOut);
    }

    /// <summary>A hold needs its writer for its own release only, which is not what is tested.</summary>
    private static HeldWrite HoldWhatIsWritten(ref SendBlocks blocks)
    {
        blocks.Fill(Bytes);
        blocks.Flush();
        HeldWrite write = new(null!) { Bytes = Bytes };
        blocks.Hold(write);
        blocks.Sent(Bytes);
        return write;
    }
}
