// The protocol "somebody awaits, somebody else completes, a token or a cancel may come in between", once for all: a
// read, a flush and an accept are pending operations.
using System.Diagnostics;
using System.Threading.Tasks.Sources;
using MegaPipe.Kestrel.Internal.Carrying;

namespace MegaPipe.Kestrel.Internal.Pipes;

/// <summary>Where a pending operation is. It goes round: idle, waiting, released, idle.</summary>
internal enum PendingState
{
    /// <summary>Nobody awaits.</summary>
    Idle,

    /// <summary>Somebody awaits what has not happened yet.</summary>
    Waiting,

    /// <summary>It has happened: the awaiter's continuation is on its way and will ask for the result.</summary>
    Released,
}

/// <summary>
/// An operation that the application awaits, one at a time, used again and again for its owner's life. Its state
/// changes under the owner's lock only, so whatever the owner decides by that state stays true while it holds the lock.
/// The lock is the operation itself, or what the owner names: an object that is there anyway, as every connection has
/// two of them and most are idle.
/// </summary>
/// <remarks>
/// The owner begins it under its lock and gives out <see cref="Await"/> after it. The thread that completes it calls
/// <see cref="TryRelease"/> under the lock, and if that returns true runs the continuation after it: on a channel, or
/// with <see cref="RunOnPool"/>. The result is made when the awaiter asks: <see cref="Finish"/>.
/// </remarks>
internal abstract class PendingOperation<TResult> : Continuation, IValueTaskSource<TResult>
{
    private readonly object _sync;

    // RunContinuationsAsynchronously stays false: Run is called where the continuation is to run.
    private ManualResetValueTaskSourceCore<bool> _core;
    private PendingState _state;
    private CancellationToken _token;
    private CancellationTokenRegistration _registration;

    /// <param name="cost">What its continuations cost.</param>
    /// <param name="scheduling">Where they run.</param>
    /// <param name="sync">The owner's lock; null: this object.</param>
    protected PendingOperation(ContinuationCost cost, ChannelScheduling scheduling, object? sync = null)
        : base(cost, scheduling) => _sync = sync ?? this;

    /// <summary>Under the lock: somebody awaits, or is about to get the result.</summary>
    public bool IsPending => _state != PendingState.Idle;

    /// <summary>Under the lock: somebody awaits, and nothing has released it yet.</summary>
    public bool IsWaiting => _state == PendingState.Waiting;

    /// <summary>Under the lock, while idle. The next thing is <see cref="Await"/>, after the lock.</summary>
    public void Begin(CancellationToken cancellationToken)
    {
        Debug.Assert(Monitor.IsEntered(_sync) && _state == PendingState.Idle);
        _core.Reset();
        _state = PendingState.Waiting;
        _token = cancellationToken;
    }

    /// <summary>After the lock: what the caller awaits. From here on the token releases the operation, too.</summary>
    public ValueTask<TResult> Await()
    {
        short version = _core.Version;
        CancellationToken token = _token;
        if (token.CanBeCanceled)
        {
            Register(version, token);
        }

        return new ValueTask<TResult>(this, version);
    }

    /// <summary>
    /// Under the lock: whether the caller is the one to run the continuation. true once for each operation, and only
    /// while it waits.
    /// </summary>
    public bool TryRelease()
    {
        Debug.Assert(Monitor.IsEntered(_sync));
        if (_state != PendingState.Waiting)
        {
            return false;
        }

        _state = PendingState.Released;
        return true;
    }

    /// <summary>After <see cref="TryRelease"/>, from a thread that is not to run application code.</summary>
    public void RunOnPool() => ThreadPool.UnsafeQueueUserWorkItem(this, preferLocal: false);

    public override void Run() => _core.SetResult(true);

    TResult IValueTaskSource<TResult>.GetResult(short token)
    {
        _core.GetResult(token);
        CancellationTokenRegistration registration = default;
        try
        {
            lock (_sync)
            {
                registration = _registration;
                CancellationToken cancellationToken = _token;
                _registration = default;
                _token = default;
                _state = PendingState.Idle;
                return Finish(cancellationToken);
            }
        }
        finally
        {
            // Not Dispose, which would wait for a callback that waits for the lock or runs this very code.
            registration.Unregister();
        }
    }

    ValueTaskSourceStatus IValueTaskSource<TResult>.GetStatus(short token) => _core.GetStatus(token);

    void IValueTaskSource<TResult>.OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags & ~ValueTaskSourceOnCompletedFlags.UseSchedulingContext);

    /// <summary>
    /// Under the lock, when the operation is idle again: its result. Where there is none, the token has released it,
    /// and this throws for the token. May throw.
    /// </summary>
    protected abstract TResult Finish(CancellationToken token);

    private void Register(short version, CancellationToken token)
    {
        CancellationTokenRegistration registration = token.UnsafeRegister(
            static (state, canceled) => ((PendingOperation<TResult>)state!).OnTokenCanceled(canceled), this);
        lock (_sync)
        {
            // Finished meanwhile, and perhaps begun again: then the registration is nobody's.
            if (_state != PendingState.Idle && _core.Version == version)
            {
                _registration = registration;
                return;
            }
        }

        registration.Unregister();
    }

    /// <summary>
    /// May come late, when the operation that it was registered for is over and the next one waits: that one has
    /// another token, or the same, which is canceled for it as well.
    /// </summary>
    private void OnTokenCanceled(CancellationToken token)
    {
        bool release;
        lock (_sync)
        {
            release = _token == token && TryRelease();
        }

        if (release)
        {
            RunOnPool();
        }
    }
}
