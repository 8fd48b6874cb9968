// What a channel runs for the application: the rest of an awaited read, flush or accept.
using System.Diagnostics;

namespace MegaPipe.Kestrel.Internal;

/// <summary>
/// How long a connection's continuations take: a moving average with a weight of 1/8 for the newest, so that about 16
/// quick ones forget one long one. Written by whoever runs the continuation, one at a time per direction; a lost update
/// only delays the decision by one.
/// </summary>
internal sealed class ContinuationCost
{
    private const int Shift = 3;
    private long _averageTicks;

    public long AverageTicks => Volatile.Read(ref _averageTicks);

    /// <summary>
    /// One run counts for at most 4 times the budget: a single one that was preempted says nothing about the handler
    /// (it takes three to be offloaded), and a connection that blocked for seconds is back after a dozen quick runs.
    /// </summary>
    public void Add(long ticks, long budgetTicks)
    {
        long average = _averageTicks;
        ticks = Math.Min(ticks, budgetTicks << 2);
        Volatile.Write(ref _averageTicks, average + ((ticks - average) >> Shift));
    }
}

/// <summary>One awaited operation of the application, resumed by a channel. Reused for the connection's life.</summary>
internal abstract class Continuation : IThreadPoolWorkItem
{
    protected Continuation(ContinuationCost cost, ChannelScheduling scheduling)
    {
        Cost = cost;
        Scheduling = scheduling;
    }

    public ContinuationCost Cost { get; }

    public ChannelScheduling Scheduling { get; }

    /// <summary>Resumes the application. Never throws: what the application throws, its own task keeps.</summary>
    public abstract void Run();

    /// <summary>Offloaded: on a pool thread, measured too, so that a connection can come back to its carrier.</summary>
    void IThreadPoolWorkItem.Execute()
    {
        if (!Scheduling.Adaptive)
        {
            Run();
            return;
        }

        long start = Stopwatch.GetTimestamp();
        Run();
        Cost.Add(Stopwatch.GetTimestamp() - start, Scheduling.BudgetTicks);
    }
}
