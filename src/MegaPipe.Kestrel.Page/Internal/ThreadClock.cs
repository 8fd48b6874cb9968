// The system's clock, with timers that need no thread pool.
namespace MegaPipe.Kestrel.Page.Internal;

/// <summary>
/// Each timer has a thread: the page goes on when handlers keep every thread of the pool, which is when people look at
/// it. And nothing of the pool wakes once a second on a server that needs none: a thread of the pool spins before it
/// sleeps again.
/// </summary>
internal sealed class ThreadClock : TimeProvider
{
    public static ThreadClock Instance { get; } = new();

    public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
        new ThreadTimer(() => callback(state), dueTime, period);

    private sealed class ThreadTimer : ITimer
    {
        private readonly ManualResetEventSlim _ended = new(initialState: false, spinCount: 0);
        private readonly Action _callback;
        private readonly TimeSpan _dueTime;
        private readonly TimeSpan _period;

        public ThreadTimer(Action callback, TimeSpan dueTime, TimeSpan period)
        {
            _callback = callback;
            _dueTime = dueTime;
            _period = period;
            // The requests of whoever asks first must not go along.
            new Thread(Run) { Name = "MegaPipe page", IsBackground = true }.UnsafeStart();
        }

        /// <summary>Nobody changes one.</summary>
        public bool Change(TimeSpan dueTime, TimeSpan period) => throw new NotSupportedException();

        /// <summary>Also from its own callback, which is the last one then.</summary>
        public void Dispose() => _ended.Set();

        public ValueTask DisposeAsync()
        {
            Dispose();
            return ValueTask.CompletedTask;
        }

        private void Run()
        {
            TimeSpan wait = _dueTime;
            while (!_ended.Wait(wait))
            {
                _callback();
                wait = _period;
            }
        }
    }
}
