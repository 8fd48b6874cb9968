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

    /// <summary>Nothing received is not the end of the stream, however early the carrier says it.</summary>
    [Theory]
    [InlineData(0)]
    [InlineData(700)]
    public async Task Receive_AnsweredBeforeItIsAwaited_NothingSaysToReadInTheOrdinaryWay(int bytes)
    {
        BringPiece();
        _owner.OnAsk = () =>
        {
            Assert.Equal(bytes > 0, _reader.TryTake(open: bytes > 0, out _, out _));
            if (bytes > 0)
            {
                _reader.Pressure.Start();
                ((IReceiver)_reader).OnRead(Event(default, bytes, default));
            }

            _channel.Turn();
        };
        Assert.Equal(bytes > 0, _reader.TryReceive(_memory, default, out ValueTask<int> received));
        if (bytes > 0)
        {
            Assert.Equal(bytes, await received);
        }
        else
        {
            _owner.OnAsk = null;
            Assert.False(_reader.ReadAsync().IsCompleted);
        }
    }

    /// <summary>Its bytes are copied there, as with the runtime's sockets, which pin nothing.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Receive_MemoryCannotBePinned_IsLeftToTheOrdinaryWay(bool nowhere)
    {
        using CallersMemory memory = new(64 * 1024) { PinsNowhere = nowhere, PinThrows = !nowhere };
        BringPiece();
        Assert.False(_reader.TryReceive(memory.Memory, default, out _));
        Assert.Equal(0, memory.Pins);
        Assert.Equal(ConnectionAsks.None, _owner.Asked);
        Assert.True(_reader.TryReceive(_memory, default, out _));
    }

    /// <summary>The caller's memory fails when it is let go: he is told, and the carrier goes on.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Receive_MemoryFailsToBeLetGo_TheCallerIsToldAndCanReadOn(bool inKernel)
    {
        using CallersMemory memory = new(64 * 1024) { UnpinThrows = true };
        BringPiece();
        Assert.True(_reader.TryReceive(memory.Memory, default, out ValueTask<int> received));
        Assert.Equal(1, memory.Pins);
        Assert.Equal(inKernel, _reader.TryTake(open: inKernel, out nint address, out _));
        if (inKernel)
        {
            Assert.Equal(memory.Address, address);
            _reader.Pressure.Start();
            ((IReceiver)_reader).OnRead(Event(default, 100, EventFlags.Rest));
        }

        _channel.Turn();
        Assert.True(received.IsCompleted);
        await Assert.ThrowsAsync<CallersMemory.Fault>(async () => await received);
        Assert.Equal(0, memory.Pins);
        Assert.Equal(ReadFlow.Idle, _reader.Pressure.Flow);
        Assert.True(_reader.TryReceive(_memory, default, out received));
        Assert.False(received.IsCompleted);
    }

    /// <summary>A second read while the first waits is refused, and leaves its memory alone.</summary>
    [Fact]
    public async Task Receive_AnotherOneWaits_ThrowsAndPinsNothing()
    {
        using CallersMemory memory = new(64 * 1024);
        ValueTask<int> received = BeginReceive();
        Assert.False(_reader.TryReceive(memory.Memory, default, out _));
        Assert.Equal(0, memory.Pins);
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await _reader.ReadAsync());
        Assert.Throws<InvalidOperationException>(() => _reader.TryRead(out _));

        Assert.True(_reader.TryTake(open: true, out nint address, out _));
        Assert.Equal(PinnedMemory.AddressOf(_memory), address);
        _reader.Pressure.Start();
        ((IReceiver)_reader).OnRead(Event(default, 12, default));
        _channel.Turn();
        Assert.Equal(12, await received);
    }

    /// <summary>From the request to its event the memory is pinned, whatever the application does meanwhile.</summary>
    [Fact]
    public async Task Receive_ApplicationCompletesWhileTheKernelHasTheMemory_PinnedUntilTheEvent()
    {
        using CallersMemory memory = new(64 * 1024);
        BringPiece();
        Assert.True(_reader.TryReceive(memory.Memory, default, out ValueTask<int> received));
        Assert.True(_reader.TryTake(open: true, out _, out _));
        _reader.Pressure.Start();
        _reader.CancelPendingRead();
        _reader.Complete();
        _reader.Pressure.Close();
        _channel.Turn();
        Assert.False(received.IsCompleted);
        Assert.Equal(1, memory.Pins);
        Assert.False(_reader.TryTake(open: false, out _, out _)); // asked twice

        Assert.Equal(1, memory.Pins);
        ((IReceiver)_reader).OnRead(Event(default, 55, default));
        Assert.Equal(0, memory.Pins);
        _channel.Turn();
        Assert.Equal(55, await received);
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
        BringPiece();
        Assert.True(_reader.TryReceive(_memory, default, out ValueTask<int> received));
        Assert.False(received.IsCompleted);
        Assert.Equal(ConnectionAsks.Receive, _owner.Asked);
        return received;
    }

    private void BringPiece()
    {
        ref readonly ChannelEvent piece = ref _channel.Receive(Client.Pattern(3_000));
        _reader.Pressure.Start();
        ((IReceiver)_reader).OnRead(Event(in piece, piece.Result, EventFlags.Leased | EventFlags.Rest));
        Assert.True(_reader.TryRead(out System.IO.Pipelines.ReadResult read));
        _reader.AdvanceTo(read.Buffer.End);
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

        /// <summary>What another thread does before the one that asks goes on.</summary>
        public Action? OnAsk { get; set; }

        public void Ask(ConnectionAsks asks)
        {
            Asked |= asks;
            OnAsk?.Invoke();
        }

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
