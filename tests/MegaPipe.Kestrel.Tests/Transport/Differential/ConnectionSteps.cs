// One sequence of steps on one connection over loopback: what the application calls and what its peer does. Each step
// waits for its own effect, so that what follows is determined, as far as TCP lets it.
using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using System.Security.Cryptography;
using CsCheck;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;

namespace MegaPipe.Kestrel.Tests.Transport.Differential;

/// <summary>What may happen to a connection.</summary>
internal enum ConnectionStepKind
{
    /// <summary>The peer sends, the application reads until it has everything, and keeps a part of it.</summary>
    Receive,

    /// <summary>The peer sends; the application sees that it is all there, and leaves it.</summary>
    SendUnread,

    /// <summary>The application begins a read and does not wait for it.</summary>
    BeginRead,

    CancelPendingRead,

    /// <summary>The application writes and the peer takes every byte.</summary>
    Write,

    /// <summary>The application writes, the peer stalls.</summary>
    BeginWrite,

    /// <summary>The peer takes what the application has written.</summary>
    Drain,

    PeerFin,
    PeerRst,
    Abort,
    AbortByFeature,
    CompleteInput,
    FailInput,
    CompleteOutput,
    FailOutput,
    Dispose,
}

internal sealed record ConnectionStep(ConnectionStepKind Kind, int Size, int Part)
{
    public static Gen<ConnectionStep[]> Sequences { get; } = Gen.Select(
        Gen.Frequency(
            (10, Gen.Const(ConnectionStepKind.Receive)),
            (3, Gen.Const(ConnectionStepKind.SendUnread)),
            (4, Gen.Const(ConnectionStepKind.BeginRead)),
            (2, Gen.Const(ConnectionStepKind.CancelPendingRead)),
            (8, Gen.Const(ConnectionStepKind.Write)),
            (2, Gen.Const(ConnectionStepKind.BeginWrite)),
            (2, Gen.Const(ConnectionStepKind.Drain)),
            (2, Gen.Const(ConnectionStepKind.PeerFin)),
            (1, Gen.Const(ConnectionStepKind.PeerRst)),
            (1, Gen.Const(ConnectionStepKind.Abort)),
            (1, Gen.Const(ConnectionStepKind.AbortByFeature)),
            (1, Gen.Const(ConnectionStepKind.CompleteInput)),
            (1, Gen.Const(ConnectionStepKind.FailInput)),
            (1, Gen.Const(ConnectionStepKind.CompleteOutput)),
            (1, Gen.Const(ConnectionStepKind.FailOutput)),
            (1, Gen.Const(ConnectionStepKind.Dispose))),
        Gen.Frequency((5, Gen.Int[1, 20]), (4, Gen.Int[1, 5_000]), (1, Gen.Int[5_000, 300_000])),
        Gen.Int[0, 4],
        (kind, size, part) => new ConnectionStep(kind, size, part)).Array[1, 12];
}

/// <summary>One connection that lives through a sequence, and what came of each step.</summary>
internal sealed class ConnectionRun(ConnectionContext server, Socket peer)
{
    private readonly CancellationToken _closedToken = server.ConnectionClosed;
    private readonly List<string> _outcomes = [];
    private readonly PipeReader _input = server.Transport.Input;
    private readonly PipeWriter _output = server.Transport.Output;
    private Task<ReadResult>? _read;
    private Task<FlushResult>? _flush;
    private int _salt;
    private long _unread;      // sent by the peer, not consumed
    private long _undrained;   // written, not taken by the peer
    private bool _peerSends = true, _peerTakes = true;
    private bool _inputOpen = true, _inputEnded, _outputOpen = true, _ended;

    public static async Task<IReadOnlyList<string>> RunAsync(
        ConnectionContext server, Socket peer, ConnectionStep[] steps)
    {
        ConnectionRun run = new(server, peer);
        foreach (ConnectionStep step in steps)
        {
            await run.Make(step);
        }

        await run.Dispose();
        return run._outcomes;
    }

    private async Task Make(ConnectionStep step)
    {
        switch (step.Kind)
        {
            case ConnectionStepKind.Receive when CanReceive:
                await Send(step.Size);
                await Read(step.Part);
                break;
            case ConnectionStepKind.Receive when _inputOpen && _inputEnded:
                await Read(step.Part);
                break;
            case ConnectionStepKind.SendUnread when CanReceive && _read is null && _unread + step.Size < 500_000:
                await Send(step.Size);
                await ReadAll();
                break;
            case ConnectionStepKind.BeginRead when _inputOpen && _read is null && _unread == 0 && !_inputEnded:
                _read = Start(() => _input.ReadAsync());
                Add("read begun", _read.IsCompleted ? "over" : "pending");
                break;
            case ConnectionStepKind.CancelPendingRead when _inputOpen && _read is not null:
                _input.CancelPendingRead();
                await EndRead("canceled read");
                break;
            case ConnectionStepKind.Write when _outputOpen && _flush is null:
                await Write(step.Size);
                break;
            case ConnectionStepKind.BeginWrite when _outputOpen && _flush is null && _peerTakes && !_ended:
                _undrained += step.Size;
                _flush = Start(() => _output.WriteAsync(Client.Pattern(step.Size, ++_salt)));
                break;
            case ConnectionStepKind.Drain:
                await Drain();
                break;
            case ConnectionStepKind.PeerFin when _peerSends && _peerTakes:
                _peerSends = false;
                peer.Shutdown(SocketShutdown.Send);
                await InputEnds("FIN");
                break;
            case ConnectionStepKind.PeerRst when _peerTakes && !_ended:
                _peerSends = _peerTakes = false;
                _undrained = 0;
                bool unseen = !_inputOpen || _inputEnded;
                peer.Reset();
                if (!unseen)
                {
                    await InputEnds("RST");
                }

                break;
            case ConnectionStepKind.Abort when _outputOpen:
                server.Abort(new ConnectionAbortedException("because"));
                await AfterAbort("abort");
                break;
            case ConnectionStepKind.AbortByFeature when _outputOpen:
                server.Features.GetRequiredFeature<IConnectionLifetimeFeature>().Abort();
                await AfterAbort("abort by the feature");
                break;
            case ConnectionStepKind.CompleteInput when _inputOpen && _read is null:
                await CompleteInput(null);
                break;
            case ConnectionStepKind.FailInput when _inputOpen && _read is null:
                await CompleteInput(new InvalidDataException("input"));
                break;
            case ConnectionStepKind.CompleteOutput when _outputOpen && _flush is null:
                _output.Complete();
                await AfterEnd("output completed");
                break;
            case ConnectionStepKind.FailOutput when _outputOpen && _flush is null:
                await Drain();
                _output.Complete(new InvalidDataException("output"));
                await AfterAbort("output failed");
                break;
            case ConnectionStepKind.Dispose:
                await Dispose();
                break;
            default:
                break; // not possible now
        }
    }

    private bool CanReceive => _peerSends && _peerTakes && _inputOpen && !_inputEnded && !_ended;

    private async Task Send(int size)
    {
        await peer.SendAllAsync(Client.Pattern(size, ++_salt));
        _unread += size;
    }

    private async Task ReadAll()
    {
        ReadResult result = await _input.WaitForAsync(_unread);
        Add("left unread", $"{result.Buffer.Length} bytes, {Hash(result.Buffer.ToArray())}");
        _input.AdvanceTo(result.Buffer.Start);
    }

    /// <summary>Reads until all is there that the peer has sent, or the end; consumes a part of it.</summary>
    private async Task Read(int part)
    {
        while (true)
        {
            _read ??= Start(() => _input.ReadAsync());
            ReadResult result;
            try
            {
                result = await _read.InTime("data that the peer has sent");
            }
            catch (Exception e) when (e is not Xunit.Sdk.XunitException)
            {
                Add("read", Describe(e));
                return;
            }
            finally
            {
                _read = null;
            }

            ReadOnlySequence<byte> buffer = result.Buffer;
            if (buffer.Length < _unread && !result.IsCompleted && !result.IsCanceled)
            {
                _input.AdvanceTo(buffer.Start, buffer.End);
                continue;
            }

            Add("read", $"{buffer.Length} bytes, {Hash(buffer.ToArray())}, completed {result.IsCompleted}");
            long consumed = _inputEnded ? buffer.Length : buffer.Length * part / 4;
            _unread -= consumed;
            _input.AdvanceTo(buffer.GetPosition(consumed), buffer.End);
            return;
        }
    }

    private async Task EndRead(string what)
    {
        if (_read is null)
        {
            return;
        }

        Task<ReadResult> read = _read;
        _read = null;
        try
        {
            ReadResult result = await read.InTime(what);
            Add(what, $"{result.Buffer.Length} bytes, completed {result.IsCompleted}, canceled {result.IsCanceled}");
            _input.AdvanceTo(result.Buffer.Start, result.Buffer.Start);
        }
        catch (Exception e) when (e is not Xunit.Sdk.XunitException)
        {
            Add(what, Describe(e));
        }
    }

    private async Task Write(int size)
    {
        _flush = Start(() => _output.WriteAsync(Client.Pattern(size, ++_salt)));
        if (_peerTakes && !_ended)
        {
            _undrained += size;
            await Drain();
        }
        else
        {
            await EndFlush("write", compare: false);
        }
    }

    private async Task Drain()
    {
        if (_peerTakes && !_ended && _undrained > 0)
        {
            byte[] bytes = await peer.ReceiveExactlyAsync((int)_undrained);
            _undrained = 0;
            Add("the peer gets", $"{bytes.Length} bytes, {Hash(bytes)}");
        }

        await EndFlush("write", compare: _peerTakes && !_ended);
    }

    /// <summary>
    /// Without <paramref name="compare"/> only a failure counts: when a flush that nobody drains any more notices that,
    /// and whether it waited at all, is the kernel's to say.
    /// </summary>
    private async Task EndFlush(string what, bool compare)
    {
        if (_flush is null)
        {
            return;
        }

        Task<FlushResult> flush = _flush;
        _flush = null;
        try
        {
            FlushResult result = await flush.InTime("a flush");
            if (compare)
            {
                Add(what, $"canceled {result.IsCanceled}, completed {result.IsCompleted}");
            }
        }
        catch (Exception e) when (e is not Xunit.Sdk.XunitException)
        {
            Add(what, Describe(e));
        }
    }

    /// <summary>The peer has ended its direction: the application hears of it.</summary>
    private async Task InputEnds(string how)
    {
        bool known = _inputEnded || _ended;
        _inputEnded = true;
        if (!known && _inputOpen)
        {
            await Closed(how);
            await EndRead($"read at {how}");
        }
    }

    private async Task CompleteInput(Exception? error)
    {
        _inputOpen = false;
        _input.Complete(error);
        if (_peerSends && _peerTakes && !_ended && !_inputEnded)
        {
            // It shows when more comes.
            await Send(1);
            _inputEnded = true;
            await Closed("input completed");
        }
    }

    /// <summary>The application has ended everything; the peer is told, and nothing waits any more.</summary>
    private async Task AfterAbort(string what)
    {
        bool first = !_ended;
        _outputOpen = false;
        _ended = true;
        await EndFlush("", compare: false);
        await EndRead($"read at {what}");
        if (!_inputEnded)
        {
            _inputEnded = true;
            await Closed(what);
        }

        if (first && _peerTakes)
        {
            // What was in flight is cut anywhere: only how it ends is compared.
            Add($"the peer at {what}", (await peer.ReceiveEndAsync())?.ToString() ?? "FIN");
            _peerTakes = false;
        }
    }

    /// <summary>The output is completed: every byte and a FIN arrive.</summary>
    private async Task AfterEnd(string what)
    {
        bool first = !_ended;
        _outputOpen = false;
        _ended = true;
        if (first && _peerTakes)
        {
            _undrained = 0;
            Add($"the peer at {what}", await ReceiveEnd());
        }

        await EndFlush("write at the end", compare: true);
        if (!_inputEnded)
        {
            // The connection is over in both directions: what the peer still sends is not read.
            _inputEnded = true;
            await Closed(what);
            await EndRead($"read at {what}");
        }
    }

    private async Task<string> ReceiveEnd()
    {
        try
        {
            byte[] rest = await peer.ReceiveToEndAsync();
            return $"{rest.Length} bytes, {Hash(rest)}, FIN";
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode.ToString();
        }
    }

    private async Task Closed(string why)
    {
        await _closedToken.WaitForCancellation().InTime($"ConnectionClosed after {why}");
        Add("closed", why);
    }

    private async Task Dispose()
    {
        bool tell = _peerTakes && !_ended;
        _inputOpen = _outputOpen = false;
        Task dispose = server.DisposeAsync().AsTask();
        _ended = true;
        if (tell)
        {
            _undrained = 0;
            Add("the peer at dispose", await ReceiveEnd());
        }

        await dispose.InTime("dispose");
        await EndFlush("write at dispose", compare: false);
        if (_read is not null)
        {
            // Pending while its pipe was completed: it ends somehow.
            Task<ReadResult> read = _read;
            _read = null;
            await Task.WhenAny(read).InTime("a read that was pending at dispose");
        }

        _inputEnded = true;
        Add("disposed", $"closed {_closedToken.IsCancellationRequested}");
    }

    private void Add(string step, string outcome) => _outcomes.Add($"{step}: {outcome}");

    private static Task<T> Start<T>(Func<ValueTask<T>> call)
    {
        try
        {
            return call().AsTask();
        }
        catch (Exception e)
        {
            return Task.FromException<T>(e);
        }
    }

    private static string Hash(byte[] bytes) => Convert.ToHexString(SHA256.HashData(bytes).AsSpan(0, 4));

    /// <summary>The one text that names its transport.</summary>
    private static string WithoutName(string reason) =>
        reason.Replace("MegaPipe transport", "Socket transport", StringComparison.Ordinal);

    private static string Describe(Exception e) => e switch
    {
        ConnectionAbortedException => $"{nameof(ConnectionAbortedException)} {WithoutName(e.Message)}",
        SocketException socket => $"{nameof(SocketException)} {socket.SocketErrorCode}",
        _ => e.GetType().Name,
    };
}
