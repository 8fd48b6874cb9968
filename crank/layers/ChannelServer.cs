// One channel on one thread, used through the binding alone. With standard pipes each connection has two of
// System.IO.Pipelines' own, inline on this thread, as a transport without pipes of its own would: received bytes are
// copied into one, the other's blocks are written.
using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Native;

namespace MegaPipe.Layers;

internal sealed unsafe class ChannelServer(int port, bool standardPipes)
{
    private readonly Channel _channel = Channel.Create(new ChannelConfig { BufferCount = 1024 });
    // By the slot of the handle; only with standard pipes.
    private readonly PipeConnection?[] _connections = new PipeConnection?[1 << 16];
    private readonly byte[] _answer = GC.AllocateUninitializedArray<byte>(Responder.Answer.Length, pinned: true);
    private readonly MemoryPool<byte> _pool = new TransportMemoryPools(null).Create();

    public void Run()
    {
        Responder.Answer.CopyTo(_answer);
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.NoDelay = true;
        listener.Bind(new IPEndPoint(IPAddress.Any, port));
        listener.Listen(512);
        long handle = _channel.Register((int)listener.Handle, cookie: 0);
        ChannelError.ThrowIfNegative((int)Math.Min(handle, 0), "Registering the listener");
        ChannelError.ThrowIfNegative(
            _channel.Accept(handle, 4, AcceptFlags.Keep | AcceptFlags.LwSocket), "Accepting");
        Console.WriteLine("Listening.");
        ChannelEvent[] events = Channel.AllocateEvents(256);
        while (true)
        {
            int count = ChannelError.ThrowIfNegative(_channel.Dispatch(events, -1), "Dispatching");
            for (int i = 0; i < count; i++)
            {
                Apply(in events[i]);
            }
        }
    }

    private void Apply(in ChannelEvent channelEvent)
    {
        switch (channelEvent.Stage)
        {
            case Stage.Accept when channelEvent.Result >= 0:
                _connections[HandleSlot.Of(channelEvent.Handle)] =
                    standardPipes ? new PipeConnection(this, channelEvent.Handle) : null;
                _channel.ReadStart(channelEvent.Handle);
                break;
            case Stage.Read:
                if (channelEvent.IsLeased)
                {
                    Receive(in channelEvent);
                    _channel.Release(channelEvent.Lease);
                }

                if (!channelEvent.HasMore)
                {
                    _connections[HandleSlot.Of(channelEvent.Handle)]?.End();
                    _channel.Close(channelEvent.Handle);
                }

                break;
            case Stage.Write:
                _connections[HandleSlot.Of(channelEvent.Handle)]?.Sent();
                break;
        }
    }

    private void Receive(in ChannelEvent channelEvent)
    {
        ReadOnlySpan<byte> received = new((void*)channelEvent.Data, channelEvent.Result);
        if (_connections[HandleSlot.Of(channelEvent.Handle)] is { } connection)
        {
            connection.Receive(received);
        }
        else if (Responder.CountRequests(received) > 0)
        {
            // One answer: this layer is measured without pipelining.
            _channel.Write(channelEvent.Handle, Marshal.UnsafeAddrOfPinnedArrayElement(_answer, 0), _answer.Length);
        }
    }

    // Each of these tasks is looked at once: the pipe's own, reused with the next operation.
#pragma warning disable CA2012
    private sealed class PipeConnection : IDuplexPipe
    {
        private readonly ChannelServer _server;
        private readonly long _handle;
        private readonly Pipe _input;
        private readonly Pipe _output;
        private readonly Action _onOutput;
        private ValueTaskAwaiter<ReadResult> _read;
        private SequencePosition _sending;

        public PipeConnection(ChannelServer server, long handle)
        {
            _server = server;
            _handle = handle;
            PipeOptions options = new(
                server._pool, PipeScheduler.Inline, PipeScheduler.Inline, useSynchronizationContext: false);
            _input = new Pipe(options);
            _output = new Pipe(options);
            _onOutput = OnOutput;
            _ = Responder.ServeAsync(this);
            AwaitOutput();
        }

        PipeReader IDuplexPipe.Input => _input.Reader;

        PipeWriter IDuplexPipe.Output => _output.Writer;

        public void Receive(ReadOnlySpan<byte> received)
        {
            _input.Writer.Write(received);
            _ = _input.Writer.FlushAsync(); // never full: the generator waits for answers
        }

        public void Sent()
        {
            _output.Reader.AdvanceTo(_sending);
            AwaitOutput();
        }

        public void End() => _input.Writer.Complete();

        private void AwaitOutput()
        {
            _read = _output.Reader.ReadAsync().GetAwaiter();
            if (_read.IsCompleted)
            {
                OnOutput();
            }
            else
            {
                _read.UnsafeOnCompleted(_onOutput);
            }
        }

        private void OnOutput()
        {
            ReadResult read = _read.GetResult();
            ReadOnlyMemory<byte> first = read.Buffer.First;
            if (first.IsEmpty)
            {
                _output.Reader.Complete();
                return;
            }

            _sending = read.Buffer.GetPosition(first.Length);
            fixed (byte* address = first.Span)
            {
                // The pool's blocks are pinned for their lives.
                _server._channel.Write(_handle, (nint)address, first.Length);
            }
        }
    }
#pragma warning restore CA2012
}
