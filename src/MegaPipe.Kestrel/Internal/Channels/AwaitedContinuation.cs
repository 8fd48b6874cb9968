// The awaitable side of a continuation: what a read, a flush and an accept have in common.
using System.Threading.Tasks.Sources;

namespace MegaPipe.Kestrel.Internal;

/// <summary>An operation that the application awaits; its result is made when the awaiter asks for it.</summary>
internal abstract class AwaitedContinuation<TResult>(ContinuationCost cost, ChannelScheduling scheduling)
    : Continuation(cost, scheduling), IValueTaskSource<TResult>
{
    // RunContinuationsAsynchronously stays false: Run is called where the continuation is to run.
    private ManualResetValueTaskSourceCore<bool> _core;

    public short Version => _core.Version;

    /// <summary>Before the operation is awaited again.</summary>
    public void Prepare() => _core.Reset();

    public override void Run() => _core.SetResult(true);

    public TResult GetResult(short token)
    {
        _core.GetResult(token);
        return Finish();
    }

    public ValueTaskSourceStatus GetStatus(short token) => _core.GetStatus(token);

    public void OnCompleted(
        Action<object?> continuation, object? state, short token, ValueTaskSourceOnCompletedFlags flags) =>
        _core.OnCompleted(continuation, state, token, flags & ~ValueTaskSourceOnCompletedFlags.UseSchedulingContext);

    /// <summary>What the operation came to. May throw.</summary>
    protected abstract TResult Finish();
}
