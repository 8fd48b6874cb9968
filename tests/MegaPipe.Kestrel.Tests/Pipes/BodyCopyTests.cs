// A body is copied once, by who produces it, into the memory that the kernel sends from. One that arrives is not copied
// at all, but read where the kernel has put it. Large ones take memory that is used again.
using System.Buffers;
using System.IO.Pipelines;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Kestrel.Tests.Pipes.Differential;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Tests.Pipes;

[Trait("Area", "BodyCopy")]
public sealed class BodyCopyTests : IDisposable
{
    private readonly StepChannel _channel = new(8, 4_096, MegaPipeScheduling.Inline);
    private readonly StepOwner _owner;
    private readonly CoalescingPipeWriter _writer;

    public BodyCopyTests()
    {
        _owner = new StepOwner(_channel, new TrackingMemoryPoolFactory());
        _writer = new CoalescingPipeWriter(_owner, new ContinuationCost(), long.MaxValue);
        _channel.Carried.Board(0);
    }

    public void Dispose()
    {
        TransportChannel.Leave();
        _channel.Dispose();
    }

    /// <summary>What Kestrel and the app get to write to is what the kernel sends from.</summary>
    [Fact]
    public async Task Write_OfOneMegabyte_IsSentFromTheMemoryThatWasFilled()
    {
        List<(nint Address, int Bytes)> filled = [];
        for (int written = 0; written < 1 << 20;)
        {
            Memory<byte> memory = _writer.GetMemory();
            filled.Add((PinnedMemory.AddressOf(memory.Span), memory.Length));
            _writer.Advance(memory.Length);
            written += memory.Length;
        }

        await _writer.FlushAsync();
        int bytes = _writer.TakeWrite(_channel.Carried, out _, out IoVectorArray? vectors, out _);
        Assert.Equal(filled, [.. vectors!.Vectors.ToArray().Select(vector => (vector.Address, (int)vector.Bytes))]);
        Assert.Equal(filled.Sum(part => part.Bytes), bytes);
        _writer.Sent(bytes);
        _channel.Carried.ReturnVectors(vectors);
        _writer.Close();
    }

    /// <summary>Of a peer that acknowledges nothing: the rest of the channel's share is for others.</summary>
    [Fact]
    public async Task Write_WhileTheKernelHasTwoOfTheLargest_IsCopied()
    {
        const int Largest = 4 << 20;
        CoalescingPipeWriter writer = new(_owner, new ContinuationCost(), long.MaxValue, zeroCopyFrom: 1);
        List<HeldWrite> kept = [];
        HeldWrite? hold;
        for (int i = 0; i < 3; i++)
        {
            await writer.WriteAsync(new byte[Largest]);
            int bytes = writer.TakeWrite(_channel.Carried, out _, out IoVectorArray? vectors, out hold);
            Assert.Equal(Largest, bytes);
            Assert.Equal(i < 2, hold is not null);
            if (hold is not null)
            {
                writer.Keep(hold);
                kept.Add(hold);
            }

            writer.Sent(bytes);
            _channel.Carried.ReturnVectors(vectors!);
        }

        _channel.Carried.Holds.End(kept[0], copied: false);
        await writer.WriteAsync(new byte[Largest]);
        int again = writer.TakeWrite(_channel.Carried, out _, out IoVectorArray? last, out hold);
        Assert.NotNull(hold);
        writer.Sent(again);
        _channel.Carried.ReturnVectors(last!);
        _channel.Carried.Holds.End(hold, copied: false);
        _channel.Carried.Holds.End(kept[1], copied: false);
        writer.Close();
    }

    [Fact]
    public void Read_OfAPiece_IsTheKernelsBuffer()
    {
        LeasePipeReader reader = new(_owner, new ContinuationCost(), _channel.Scheduling, long.MaxValue);
        ref readonly ChannelEvent received = ref _channel.Receive(Client.Pattern(3_000));
        nint data = received.Data;
        ((IReceiver)reader).OnRead(in received);
        Assert.True(reader.TryRead(out ReadResult result));
        Assert.Equal(3_000, result.Buffer.Length);
        Assert.Equal(data, PinnedMemory.AddressOf(result.Buffer.FirstSpan));
        reader.AdvanceTo(result.Buffer.End);
        reader.Complete();
    }

    /// <summary>In pieces of the writer's choice, or in one of the app's.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(100_000)]
    [InlineData(3_000_000)]
    public void Write_OfALargeBodyAgainAndAgain_AllocatesNextToNothing(int sizeHint)
    {
        const int Rounds = 20;
        for (int i = 0; i < Rounds; i++)
        {
            WriteAndSend(sizeHint); // the memory that is used again
        }

        long before = GC.GetAllocatedBytesForCurrentThread();
        for (int i = 0; i < Rounds; i++)
        {
            WriteAndSend(sizeHint);
        }

        // The first blocks are small ones of a pool; that of the tests makes each of them anew.
        Assert.InRange((GC.GetAllocatedBytesForCurrentThread() - before) / Rounds, 0, 20_000);
        _writer.Close();
    }

    private void WriteAndSend(int sizeHint)
    {
        for (int left = Math.Max(100_000, sizeHint); left > 0;)
        {
            int part = Math.Min(left, _writer.GetMemory(sizeHint).Length);
            _writer.Advance(part);
            left -= part;
        }

        Assert.True(_writer.FlushAsync().IsCompletedSuccessfully);
        int bytes = _writer.TakeWrite(_channel.Carried, out _, out IoVectorArray? vectors, out _);
        if (vectors is not null)
        {
            _channel.Carried.ReturnVectors(vectors);
        }

        _writer.Sent(bytes);
    }
}
