// Accepted connections on their way to Kestrel's accept loop.

namespace MegaPipe.Kestrel.Internal;

/// <summary>Filled by carriers, emptied by one accept loop, which runs where continuations run.</summary>
internal sealed class AcceptQueue
{
    private readonly Lock _sync = new();
    private readonly Queue<MegaPipeConnection> _connections = new();
    private readonly AcceptContinuation _continuation;
    private bool _waiting;
    private bool _resumed;
    private bool _ended;
    private CancellationToken _waitToken;
    private CancellationTokenRegistration _registration;

    public AcceptQueue(ChannelScheduling scheduling) => _continuation = new AcceptContinuation(this, scheduling);

    /// <summary>The carrier of <paramref name="channel"/>.</summary>
    public void Add(MegaPipeConnection connection, TransportChannel channel)
    {
        bool resume;
        lock (_sync)
        {
            _connections.Enqueue(connection);
            resume = _waiting && !_resumed;
            _resumed |= resume;
        }

        if (resume)
        {
            channel.Resume(_continuation);
        }
    }

    /// <summary>No more will come. Any thread.</summary>
    public void End()
    {
        bool resume;
        lock (_sync)
        {
            _ended = true;
            resume = _waiting && !_resumed;
            _resumed |= resume;
        }

        if (resume)
        {
            ThreadPool.UnsafeQueueUserWorkItem(_continuation, preferLocal: false);
        }
    }

    /// <summary>The next connection; null after the end.</summary>
    public ValueTask<MegaPipeConnection?> TakeAsync(CancellationToken cancellationToken)
    {
        lock (_sync)
        {
            if (_waiting)
            {
                throw new InvalidOperationException("An accept is already in progress.");
            }

            if (cancellationToken.IsCancellationRequested)
            {
                return ValueTask.FromCanceled<MegaPipeConnection?>(cancellationToken);
            }

            if (_connections.TryDequeue(out MegaPipeConnection? connection) || _ended)
            {
                return new ValueTask<MegaPipeConnection?>(connection);
            }

            _continuation.Prepare();
            _waiting = true;
            _waitToken = cancellationToken;
        }

        if (cancellationToken.CanBeCanceled)
        {
            CancellationTokenRegistration registration = cancellationToken.UnsafeRegister(
                static state => ((AcceptQueue)state!).OnTokenCanceled(), this);
            lock (_sync)
            {
                _registration = registration;
            }
        }

        return new ValueTask<MegaPipeConnection?>(_continuation, _continuation.Version);
    }

    /// <summary>What nobody took.</summary>
    public MegaPipeConnection[] TakeRest()
    {
        lock (_sync)
        {
            MegaPipeConnection[] rest = [.. _connections];
            _connections.Clear();
            return rest;
        }
    }

    private void OnTokenCanceled()
    {
        bool resume;
        lock (_sync)
        {
            resume = _waiting && !_resumed;
            _resumed |= resume;
        }

        if (resume)
        {
            ThreadPool.UnsafeQueueUserWorkItem(_continuation, preferLocal: false);
        }
    }

    private MegaPipeConnection? Finish()
    {
        MegaPipeConnection? connection;
        bool ended;
        CancellationToken token;
        CancellationTokenRegistration registration;
        lock (_sync)
        {
            _waiting = false;
            _resumed = false;
            token = _waitToken;
            registration = _registration;
            _waitToken = default;
            _registration = default;
            _connections.TryDequeue(out connection);
            ended = _ended;
        }

        registration.Unregister();
        if (connection is null && !ended)
        {
            token.ThrowIfCancellationRequested();
        }

        return connection;
    }

    private sealed class AcceptContinuation(AcceptQueue queue, ChannelScheduling scheduling)
        : AwaitedContinuation<MegaPipeConnection?>(new ContinuationCost(), scheduling)
    {
        protected override MegaPipeConnection? Finish() => queue.Finish();
    }
}
