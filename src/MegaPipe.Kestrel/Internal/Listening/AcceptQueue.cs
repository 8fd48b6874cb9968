// Accepted connections on their way to Kestrel's accept loop.
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Pipes;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>Filled by carriers, emptied by one accept loop, which runs where continuations run.</summary>
internal sealed class AcceptQueue
{
    private readonly Queue<MegaPipeConnection> _connections = new();
    private readonly PendingTake _pending; // and the lock
    private bool _ended;

    public AcceptQueue(ChannelScheduling scheduling) => _pending = new PendingTake(this, scheduling);

    /// <summary>The carrier of <paramref name="channel"/>.</summary>
    public void Add(MegaPipeConnection connection, TransportChannel channel)
    {
        bool release;
        channel.NotePoolWork();
        lock (_pending)
        {
            _connections.Enqueue(connection);
            release = _pending.TryRelease();
        }

        if (release)
        {
            channel.Schedule(_pending);
        }
    }

    /// <summary>No more will come. Any thread.</summary>
    public void End()
    {
        bool release;
        lock (_pending)
        {
            _ended = true;
            release = _pending.TryRelease();
        }

        if (release)
        {
            _pending.RunOnPool();
        }
    }

    /// <summary>The next connection; null after the end.</summary>
    public ValueTask<ConnectionContext?> TakeAsync(CancellationToken cancellationToken)
    {
        lock (_pending)
        {
            if (_pending.IsPending)
            {
                throw new InvalidOperationException("An accept is already in progress.");
            }

            if (cancellationToken.IsCancellationRequested)
            {
                return ValueTask.FromCanceled<ConnectionContext?>(cancellationToken);
            }

            if (_connections.TryDequeue(out MegaPipeConnection? connection) || _ended)
            {
                return new ValueTask<ConnectionContext?>(connection);
            }

            _pending.Begin(cancellationToken);
        }

        return _pending.Await();
    }

    /// <summary>What nobody took.</summary>
    public MegaPipeConnection[] TakeRest()
    {
        lock (_pending)
        {
            MegaPipeConnection[] rest = [.. _connections];
            _connections.Clear();
            return rest;
        }
    }

    private sealed class PendingTake(AcceptQueue queue, ChannelScheduling scheduling)
        : PendingOperation<ConnectionContext?>(new ContinuationCost(), scheduling)
    {
        protected override ConnectionContext? Finish(CancellationToken token)
        {
            if (!queue._connections.TryDequeue(out MegaPipeConnection? connection) && !queue._ended)
            {
                token.ThrowIfCancellationRequested();
            }

            return connection;
        }
    }
}
