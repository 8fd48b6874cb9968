// Something that happens once, which mostly nobody waits for before it does.
namespace MegaPipe.Kestrel.Internal.Connections;

/// <summary>Who waits before it has happened makes an object for that; otherwise there is none.</summary>
internal struct EndSignal
{
    private static readonly TaskCompletionSource s_ended = Completed();

    /// <summary>null: neither has happened; <see cref="s_ended"/>: nobody had waited when it did.</summary>
    private TaskCompletionSource? _state;

    /// <summary>It has happened: who waits goes on on this thread.</summary>
    public void Set() => Interlocked.CompareExchange(ref _state, s_ended, null)?.TrySetResult();

    /// <summary>Any thread, beside <see cref="Set"/>: complete once it has happened.</summary>
    public Task WaitAsync()
    {
        if (Volatile.Read(ref _state) is { } state)
        {
            return state.Task;
        }

        TaskCompletionSource mine = new();
        return (Interlocked.CompareExchange(ref _state, mine, null) ?? mine).Task;
    }

    private static TaskCompletionSource Completed()
    {
        TaskCompletionSource completed = new();
        completed.SetResult();
        return completed;
    }
}
