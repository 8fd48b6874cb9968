// A connection as a stream, for those who know no pipes: HttpClient, SslStream, database clients.
using System.Diagnostics.CodeAnalysis;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using System.Threading.Tasks.Sources;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Pipes;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Internal.Connecting;

/// <summary>
/// Reads go from the leases to the caller's memory, or for large bodies from the socket (LeasePipeReader.Receive);
/// writes go into the blocks that the kernel sends from. What is awaited goes on where the pipe's own awaiter does, on
/// the channel, with nothing in between.
/// </summary>
internal sealed class ConnectionStream : Stream
{
    /// <summary>
    /// How long a disposed stream goes on sending what was written to it. The runtime's sockets leave that to the
    /// kernel, which gives up after about a minute.
    /// </summary>
    private static readonly TimeSpan s_lingerFor = TimeSpan.FromSeconds(30);

    private readonly MegaPipeConnection _connection;
    private readonly LeasePipeReader _input;
    private readonly PipeWriter _output;
    private readonly PendingRead _read;
    private int _disposed;
    private bool _writeFailed;

    public ConnectionStream(MegaPipeConnection connection)
    {
        _connection = connection;
        _input = connection.Reader;
        _output = ((IDuplexPipe)connection).Output;
        _read = new PendingRead(this);
    }

    public MegaPipeConnection Connection => _connection;

    public override bool CanRead => _disposed == 0;

    public override bool CanWrite => _disposed == 0;

    public override bool CanSeek => false;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ThrowIfDisposed();
        try
        {
            if (_input.TryReceive(buffer, cancellationToken, out ValueTask<int> received))
            {
                return received.IsCompleted ? received : _read.Begin(received, buffer, cancellationToken);
            }

            ValueTask<ReadResult> read = _input.ReadAsync(cancellationToken);
            return read.IsCompleted
                ? new ValueTask<int>(Take(read.GetAwaiter().GetResult(), buffer))
                : _read.Begin(read, buffer, cancellationToken);
        }
        catch (Exception error)
        {
            return ValueTask.FromException<int>(Translate(error, cancellationToken));
        }
    }

    public override Task<int> ReadAsync(
        byte[] buffer, int offset, int count, CancellationToken cancellationToken)
    {
        ValidateBufferArguments(buffer, offset, count);
        return ReadAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
    }

    public override int Read(byte[] buffer, int offset, int count)
    {
        ValidateBufferArguments(buffer, offset, count);
        return ReadAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();
    }

    /// <summary>Blocks. A carrier loses its channel meanwhile, as in any other handler that blocks.</summary>
    public override int Read(Span<byte> buffer)
    {
        byte[] array = System.Buffers.ArrayPool<byte>.Shared.Rent(buffer.Length);
        int bytes = ReadAsync(array.AsMemory(0, buffer.Length)).AsTask().GetAwaiter().GetResult();
        array.AsSpan(0, bytes).CopyTo(buffer);
        System.Buffers.ArrayPool<byte>.Shared.Return(array); // an exception may have left a read that goes on
        return bytes;
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ThrowIfDisposed();
        ValueTask<FlushResult> flush = _output.WriteAsync(buffer, cancellationToken);
        if (flush.IsCompletedSuccessfully)
        {
            FlushResult result = flush.GetAwaiter().GetResult();
            return result.IsCompleted ? ValueTask.FromException(EndError()) : default;
        }

        return FinishWriteAsync(flush, cancellationToken);
    }

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken)
    {
        ValidateBufferArguments(buffer, offset, count);
        return WriteAsync(buffer.AsMemory(offset, count), cancellationToken).AsTask();
    }

    public override void Write(byte[] buffer, int offset, int count)
    {
        ValidateBufferArguments(buffer, offset, count);
        WriteAsync(buffer.AsMemory(offset, count)).AsTask().GetAwaiter().GetResult();
    }

    public override void Write(ReadOnlySpan<byte> buffer)
    {
        // What the writer takes is copied anyway: without an array in between.
        ThrowIfDisposed();
        System.Buffers.BuffersExtensions.Write(_output, buffer);
        FinishWriteAsync(_output.FlushAsync(), default).AsTask().GetAwaiter().GetResult();
    }

    /// <summary>Each write is flushed.</summary>
    public override void Flush()
    {
    }

    public override Task FlushAsync(CancellationToken cancellationToken) =>
        cancellationToken.IsCancellationRequested ? Task.FromCanceled(cancellationToken) : Task.CompletedTask;

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing && Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            _ = EndAsync();
        }

        base.Dispose(disposing);
    }

    /// <summary>
    /// What was written is sent, then FIN, as the runtime's own stream over a socket does it: whoever still awaits a
    /// read gets an error. Of a write that was not finished the peer gets what its socket takes at once.
    /// </summary>
    private async Task EndAsync()
    {
        if (_writeFailed || _connection.IsWriteAwaited)
        {
            _connection.Abort(null!);
        }

        Task end = _connection.DisposeAsync().AsTask();
        try
        {
            await end.WaitAsync(s_lingerFor).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            _connection.Abort(null!); // the peer does not take what was written
        }
    }

    private int Take(in ReadResult result, Memory<byte> buffer)
    {
        System.Buffers.ReadOnlySequence<byte> received = result.Buffer;
        if (received.IsEmpty)
        {
            _input.AdvanceTo(received.Start);
            return result.IsCanceled ? throw Translate(new OperationCanceledException()) : 0;
        }

        int bytes = (int)Math.Min(received.Length, buffer.Length);
        if (bytes == 0)
        {
            // A read of nothing waits for something to be there.
            _input.AdvanceTo(received.Start, received.Start);
            return 0;
        }

        if (received.FirstSpan.Length >= bytes)
        {
            received.FirstSpan[..bytes].CopyTo(buffer.Span);
        }
        else
        {
            System.Buffers.BuffersExtensions.CopyTo(received.Slice(0, bytes), buffer.Span);
        }

        _input.AdvanceTo(received.GetPosition(bytes));
        return bytes;
    }

    [AsyncMethodBuilder(typeof(PoolingAsyncValueTaskMethodBuilder))]
    private async ValueTask FinishWriteAsync(ValueTask<FlushResult> flush, CancellationToken cancellationToken)
    {
        FlushResult result;
        try
        {
            result = await flush.ConfigureAwait(false);
        }
        catch (Exception error)
        {
            _writeFailed = true;
            throw Translate(error, cancellationToken);
        }

        if (result.IsCompleted)
        {
            throw EndError();
        }
    }

    private Exception EndError() => Translate(_connection.EndReason ?? new ConnectionAbortedException());

    private void ThrowIfDisposed() => ObjectDisposedException.ThrowIf(_disposed != 0, this);

    /// <summary>
    /// What a stream throws. The caller's own cancellation and misuse stay as they are; the connection's end, which may
    /// be a cancellation of its own kind, is one of input or output.
    /// </summary>
    private Exception Translate(Exception error, CancellationToken cancellationToken = default) => error switch
    {
        IOException => error,
        OperationCanceledException when error is not ConnectionAbortedException &&
            cancellationToken.IsCancellationRequested => error,
        InvalidOperationException when _disposed != 0 => new ObjectDisposedException(GetType().FullName),
        InvalidOperationException => error,
        _ when _disposed != 0 => new IOException("The stream was disposed.", error),
        _ => new IOException(error.Message, error),
    };

    /// <summary>
    /// The awaited read, used again for each: it goes on in the pipe's own continuation, and allocates nothing.
    /// </summary>
    private sealed class PendingRead : IValueTaskSource<int>
    {
        private readonly ConnectionStream _stream;
        private readonly Action _onRead;
        private readonly Action _onReceived;
        private ManualResetValueTaskSourceCore<int> _core;
        private ValueTaskAwaiter<ReadResult> _awaiter;
        private ValueTaskAwaiter<int> _receiveAwaiter;
        private Memory<byte> _buffer;
        private CancellationToken _token;

        public PendingRead(ConnectionStream stream)
        {
            _stream = stream;
            _onRead = OnRead;
            _onReceived = OnReceived;
        }

        /// <summary>The pipe allows one read at a time, so nobody else is in here.</summary>
        public ValueTask<int> Begin(ValueTask<ReadResult> read, Memory<byte> buffer, CancellationToken token)
        {
            ValueTask<int> task = Begin(buffer, token);
            Await(read);
            return task;
        }

        public ValueTask<int> Begin(ValueTask<int> received, Memory<byte> buffer, CancellationToken token)
        {
            ValueTask<int> task = Begin(buffer, token);
            _receiveAwaiter = received.GetAwaiter();
            _receiveAwaiter.UnsafeOnCompleted(_onReceived);
            return task;
        }

        int IValueTaskSource<int>.GetResult(short token) => _core.GetResult(token);

        ValueTaskSourceStatus IValueTaskSource<int>.GetStatus(short token) => _core.GetStatus(token);

        void IValueTaskSource<int>.OnCompleted(
            Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
            _core.OnCompleted(continuation, state, token, flags);

        private ValueTask<int> Begin(Memory<byte> buffer, CancellationToken token)
        {
            _core.Reset();
            _buffer = buffer;
            _token = token;
            return new ValueTask<int>(this, _core.Version);
        }

        private void Await(ValueTask<ReadResult> read)
        {
            _awaiter = read.GetAwaiter();
            _awaiter.UnsafeOnCompleted(_onRead);
        }

        [SuppressMessage("Design", "CA1031", Justification = "Whatever it is, the awaiter gets it.")]
        private void OnReceived()
        {
            ValueTaskAwaiter<int> awaiter = _receiveAwaiter;
            _receiveAwaiter = default;
            try
            {
                int bytes = awaiter.GetResult();
                if (bytes == 0)
                {
                    Await(_stream._input.ReadAsync(_token)); // the end, or there was nothing
                    return;
                }

                _buffer = default;
                _token = default;
                _core.SetResult(bytes);
            }
            catch (Exception error)
            {
                Fail(error);
            }
        }

        [SuppressMessage("Design", "CA1031", Justification = "Whatever it is, the awaiter gets it.")]
        private void OnRead()
        {
            ValueTaskAwaiter<ReadResult> awaiter = _awaiter;
            Memory<byte> buffer = _buffer;
            _awaiter = default;
            int bytes;
            try
            {
                bytes = _stream.Take(awaiter.GetResult(), buffer);
            }
            catch (Exception error)
            {
                Fail(error);
                return;
            }

            _buffer = default;
            _token = default;
            _core.SetResult(bytes);
        }

        private void Fail(Exception error)
        {
            CancellationToken token = _token;
            _buffer = default;
            _token = default;
            _core.SetException(_stream.Translate(error, token));
        }
    }
}
