// A large read that meets the end of its connection, one step of the carrier at a time.
using System.Buffers;
using System.Runtime.CompilerServices;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Kestrel.Tests.Pipes.Differential;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Tests.Pipes;

[Trait("Area", "LargeRead")]
public sealed class ReceiveStepTests : IDisposable
{
    private const int ConnectionReset = -104;

    private readonly StepChannel _channel = new(8, 4_096, MegaPipeScheduling.Inline);
    private readonly Owner _owner;
    private readonly LeasePipeReader _reader;
    private readonly byte[] _memory = GC.AllocateArray<byte>(64 * 1024, pinned: true);

    public ReceiveStepTests()
    {
        _owner = new Owner(_channel.Carried);
        _reader = new LeasePipeReader(_owner, new ContinuationCost(), _channel.Scheduling, long.MaxValue);
        _channel.Carried.Board(0);
    }

    public void Dispose()
    {
        TransportChannel.Leave();
        _channel.Dispose();
    }

    [Fact]
    public async Task Receive_TheConnectionIsOverBeforeItIsMade_ReadsNothing()
    {
        ValueTask<int> received = BeginReceive();
        Assert.False(_reader.TryTake(open: false, out _, out _));
        await EndsWithNothingAsync(received);
    }

    [Fact]
    public async Task Receive_ApplicationCompletesBeforeItIsMade_ReadsNothing()
    {
        ValueTask<int> received = BeginReceive();
        _reader.Complete();
        Assert.False(_reader.TryTake(open: true, out _, out _));
        await EndsWithNothingAsync(received);
    }

    [Fact]
    public async Task Receive_MeetsAReset_TheConnectionIsTold()
    {
        ValueTask<int> received = BeginReceive();
        Assert.True(_reader.TryTake(open: true, out nint address, out int bytes));
        Assert.Equal(PinnedMemory.AddressOf(_memory), address);
        Assert.Equal(_memory.Length, bytes);
        _reader.Pressure.Start();

        ((IReceiver)_reader).OnRead(Event(default, ConnectionReset, default));
        Assert.Equal(ConnectionReset, _owner.End);
        await EndsWithNothingAsync(received);
    }

    private async Task EndsWithNothingAsync(ValueTask<int> received)
    {
        _channel.Turn();
        Assert.True(received.IsCompleted);
        Assert.Equal(0, await received);
    }

    /// <summary>A piece has come, the socket holds more, and the application has brought memory for it.</summary>
    private ValueTask<int> BeginReceive()
    {
        ref readonly ChannelEvent piece = ref _channel.Receive(Client.Pattern(3_000));
        _reader.Pressure.Start();
        ((IReceiver)_reader).OnRead(Event(in piece, piece.Result, EventFlags.Leased | EventFlags.Rest));
        Assert.True(_reader.TryRead(out System.IO.Pipelines.ReadResult read));
        _reader.AdvanceTo(read.Buffer.End);
        Assert.True(_reader.TryReceive(_memory, default, out ValueTask<int> received));
        Assert.False(received.IsCompleted);
        Assert.Equal(ConnectionAsks.Receive, _owner.Asked);
        return received;
    }

    private static ChannelEvent Event(in ChannelEvent like, int result, EventFlags flags)
    {
        ChannelEvent made = like;
        Unsafe.AsRef(in made.Result) = result;
        Unsafe.AsRef(in made.Flags) = flags;
        return made;
    }

    private sealed class Owner(TransportChannel channel) : IPipeOwner
    {
        public TransportChannel Channel => channel;

        public MemoryPool<byte> MemoryPool => MemoryPool<byte>.Shared;

        public ConnectionAsks Asked { get; private set; }

        public int? End { get; private set; }

        public void Ask(ConnectionAsks asks) => Asked |= asks;

        public void OnInputTaken()
        {
        }

        public void PauseReading()
        {
        }

        public void StopReading()
        {
        }

        public void RenewReading()
        {
        }

        public void OnReadRests(bool more)
        {
        }

        public void OnReadEnd(in ChannelEvent channelEvent) => End = channelEvent.Result;

        public void OnOutputCompleted(Exception? exception)
        {
        }
    }
}
