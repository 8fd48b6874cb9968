// A reader and a writer to test, and the other end of each: a standard Pipe, or a connection and its client socket.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Pipes;

/// <summary>What stands behind the pipes: the standard implementation, or a transport.</summary>
public enum PipeKind
{
    StandardPipe,
    Sockets,
    MegaPipe,
    MegaPipeThreadPool,
    MegaPipeInline,
    MegaPipeNoLwsocket,
    MegaPipeLwsocketAlways,
    MegaPipeSmallBuffers,
}

public abstract class PipeUnderTest : IAsyncDisposable
{
    public const int WriteLimit = 64 * 1024;
    public const int ReadLimit = 1024 * 1024;

    public abstract PipeReader Reader { get; }

    public abstract PipeWriter Writer { get; }

    /// <summary>What a reader throws after <see cref="FaultFeedAsync"/>.</summary>
    public abstract Type FaultType { get; }

    /// <summary>Whether a byte has come out of the writer that nobody drained.</summary>
    public abstract bool HasUndrained { get; }

    public static async Task<PipeUnderTest> CreateAsync(PipeKind kind)
    {
        if (kind == PipeKind.StandardPipe)
        {
            return new StandardPipes();
        }

        TransportHarness harness = TransportHarness.Create(Enum.Parse<TransportKind>(kind.ToString()), settings =>
        {
            settings.MaxReadBufferSize = ReadLimit;
            settings.MaxWriteBufferSize = WriteLimit;
        });
        return new TransportPipes(harness, await harness.ConnectAsync());
    }

    /// <summary>Makes bytes appear at the reader; they may arrive in pieces.</summary>
    public abstract Task FeedAsync(ReadOnlyMemory<byte> bytes);

    /// <summary>Ends the reader's input well.</summary>
    public abstract Task EndFeedAsync();

    /// <summary>Ends the reader's input with an error, and returns when the reader can know.</summary>
    public abstract Task FaultFeedAsync();

    /// <summary>Takes exactly that many bytes that the writer wrote.</summary>
    public abstract Task<byte[]> DrainAsync(int count);

    public abstract Task<byte[]> DrainToEndAsync();

    /// <summary>Takes no more: from some flush on, flushes say that they are completed.</summary>
    public abstract Task EndDrainAsync();

    public Task FeedAsync(string text) => FeedAsync(System.Text.Encoding.ASCII.GetBytes(text));

    /// <summary>Feeds and waits until all of it is buffered at the reader, consuming nothing.</summary>
    public async Task FeedAndArriveAsync(ReadOnlyMemory<byte> bytes)
    {
        await FeedAsync(bytes);
        ReadResult result = await Reader.WaitForAsync(bytes.Length);
        Reader.AdvanceTo(result.Buffer.Start);
    }

    public Task FeedAndArriveAsync(string text) => FeedAndArriveAsync(System.Text.Encoding.ASCII.GetBytes(text));

    /// <summary>Writes until a flush has to wait, and gives that flush and the bytes written in all.</summary>
    public async Task<(Task<FlushResult> Flush, int Written)> WriteUntilBlockedAsync(CancellationToken token = default)
    {
        int written = 0;
        while (true)
        {
            Task<FlushResult> flush = Writer.WriteAsync(new byte[WriteLimit], token).AsTask();
            written += WriteLimit;
            Assert.True(written < 100 * 1024 * 1024, "back-pressure never came");
            if (await Task.WhenAny(flush, Task.Delay(TimeSpan.FromMilliseconds(250), CancellationToken.None)) != flush)
            {
                return (flush, written);
            }

            await flush;
        }
    }

    public abstract ValueTask DisposeAsync();

    private sealed class StandardPipes : PipeUnderTest
    {
        private readonly Pipe _input = new(new PipeOptions(
            pauseWriterThreshold: ReadLimit, resumeWriterThreshold: ReadLimit / 2, useSynchronizationContext: false));
        private readonly Pipe _output = new(new PipeOptions(
            pauseWriterThreshold: WriteLimit, resumeWriterThreshold: WriteLimit / 2, useSynchronizationContext: false));

        public override PipeReader Reader => _input.Reader;

        public override PipeWriter Writer => _output.Writer;

        public override Type FaultType => typeof(InvalidDataException);

        public override bool HasUndrained
        {
            get
            {
                if (!_output.Reader.TryRead(out ReadResult result))
                {
                    return false;
                }

                _output.Reader.AdvanceTo(result.Buffer.Start);
                return !result.Buffer.IsEmpty;
            }
        }

        public override async Task FeedAsync(ReadOnlyMemory<byte> bytes) =>
            await _input.Writer.WriteAsync(bytes).InTime();

        public override async Task EndFeedAsync() => await _input.Writer.CompleteAsync();

        public override async Task FaultFeedAsync() =>
            await _input.Writer.CompleteAsync(new InvalidDataException("fault"));

        public override Task<byte[]> DrainAsync(int count) => _output.Reader.ReadExactlyAsync(count);

        public override Task<byte[]> DrainToEndAsync() => _output.Reader.ReadToEndAsync();

        public override async Task EndDrainAsync() => await _output.Reader.CompleteAsync();

        public override ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }

    private sealed class TransportPipes(TransportHarness harness, ConnectedPair pair) : PipeUnderTest
    {
        public override PipeReader Reader => pair.Server.Transport.Input;

        public override PipeWriter Writer => pair.Server.Transport.Output;

        public override Type FaultType => typeof(ConnectionResetException);

        public override bool HasUndrained => pair.Client.Available > 0;

        public override Task FeedAsync(ReadOnlyMemory<byte> bytes) => pair.Client.SendAllAsync(bytes);

        public override Task EndFeedAsync()
        {
            pair.Client.Shutdown(SocketShutdown.Send);
            return Task.CompletedTask;
        }

        public override async Task FaultFeedAsync()
        {
            pair.Client.Reset();
            await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        }

        public override Task<byte[]> DrainAsync(int count) => pair.Client.ReceiveExactlyAsync(count);

        public override Task<byte[]> DrainToEndAsync() => pair.Client.ReceiveToEndAsync();

        public override Task EndDrainAsync() => FaultFeedAsync();

        public override ValueTask DisposeAsync() => harness.DisposeAsync();
    }
}
