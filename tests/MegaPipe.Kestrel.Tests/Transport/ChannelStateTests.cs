// What a connection does to its channel's counters and to what the channel lends it.
using System.IO.Pipelines;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Tests.Transport;

[Trait("Transport", "MegaPipe"), Trait("Area", "ChannelState")]
public sealed class ChannelStateTests
{
    private const int BlockBytes = 4096;

    [Fact]
    public async Task Reset_SeenByAReadAndByAWrite_IsOne()
    {
        await using TransportHarness harness = TransportHarness.Create(TransportKind.MegaPipe);
        ConnectedPair pair = await harness.ConnectAsync();
        pair.Client.Reset();
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        await pair.Server.Transport.Output.WriteAsync("x"u8.ToArray()).InTime();
        await harness.Logs.Reached(LogCapture.ConnectionWriteRst); // the write has failed
        await pair.Server.DisposeAsync().InTime();
        Assert.Equal(1, LeakCheck.Sum(harness.Status, "resets"));
        Assert.Equal(1, harness.Logs.Count(LogCapture.ConnectionReset));
    }

    [Fact]
    public async Task Write_OfSeveralBlocks_ReturnsItsVectors()
    {
        await using TransportHarness harness = TransportHarness.Create(TransportKind.MegaPipe, settings =>
            settings.MaxWriteBufferSize = 1);
        ConnectedPair pair = await harness.ConnectAsync();
        TransportChannel channel = Assert.IsType<MegaPipeConnection>(pair.Server).Channel;
        IoVectorArray known = await PeekVectorsAsync(channel);
        PipeWriter output = pair.Server.Transport.Output;
        for (int block = 0; block < 2; block++)
        {
            output.GetMemory(BlockBytes);
            output.Advance(BlockBytes);
        }

        await output.FlushAsync().InTime(); // waits for the write's end
        await pair.Client.ReceiveExactlyAsync(2 * BlockBytes);
        Assert.Same(known, await PeekVectorsAsync(channel));
    }

    /// <summary>Those that the channel's next gathered write would get.</summary>
    private static Task<IoVectorArray> PeekVectorsAsync(TransportChannel channel)
    {
        TaskCompletionSource<IoVectorArray> done = new(TaskCreationOptions.RunContinuationsAsynchronously);
        channel.Post(_ =>
        {
            IoVectorArray vectors = channel.RentVectors();
            channel.ReturnVectors(vectors);
            done.SetResult(vectors);
        });
        return done.Task.InTime();
    }
}
