// Samples the process's own threads for a moment, and keeps what those had that blocked.
using System.Runtime.CompilerServices;
using MegaPipe.Kestrel.Page.Internal;
using MegaPipe.Kestrel.Stacks.Internal;

namespace MegaPipe.Kestrel.Stacks;

/// <summary>
/// Stacks of the threads that keep channels waiting. Safe for any thread; one sampling at a time in a process. While it
/// samples, the runtime stops all managed threads about once a millisecond for as long as it takes to look at their
/// stacks; reading the result takes a few hundred milliseconds of CPU time, and a temporary file of some megabytes.
/// </summary>
public sealed class MegaPipeStackSampler : IStackSource
{
    /// <summary>Stacks that are told for each endpoint.</summary>
    public const int MaxStacksOfEndpoint = 3;

    /// <summary>The shortest time that finds something.</summary>
    public static readonly TimeSpan MinDuration = TimeSpan.FromMilliseconds(50);

    /// <summary>The runtime keeps what it samples: longer than this is a profiler's work.</summary>
    public static readonly TimeSpan MaxDuration = TimeSpan.FromSeconds(10);

    private static int s_running; // all hosts of the process have the same threads
    private readonly MegaPipeStatus _status;

    /// <summary>For the services.</summary>
    public MegaPipeStackSampler(MegaPipeStatus status)
    {
        ArgumentNullException.ThrowIfNull(status);
        _status = status;
    }

    /// <summary>
    /// Looks for <paramref name="duration"/> at what blocks: every endpoint that the table of
    /// <see cref="MegaPipeStatus.GetBlocked"/> counts meanwhile or that is stuck at the end, with the stacks of its
    /// threads. Never throws because nothing can be sampled: <see cref="MegaPipeStackReport.Problem"/> says why.
    /// </summary>
    /// <param name="duration">From <see cref="MinDuration"/> to <see cref="MaxDuration"/>.</param>
    /// <param name="token">Ends it early; what was started is still cleaned up.</param>
    /// <exception cref="ArgumentOutOfRangeException">The duration is too short or too long.</exception>
    /// <exception cref="OperationCanceledException">By the token.</exception>
    public async Task<MegaPipeStackReport> SampleAsync(TimeSpan duration, CancellationToken token = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(duration, MinDuration);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(duration, MaxDuration);
        if (!RuntimeFeature.IsDynamicCodeSupported)
        {
            return new MegaPipeStackReport([], "NativeAOT's runtime has no sampler. Use perf instead.");
        }

        if (Interlocked.Exchange(ref s_running, 1) != 0)
        {
            return new MegaPipeStackReport([], "Somebody else samples at this moment. Try again when that is over.");
        }

        try
        {
            return await TraceSession.RunAsync(_status, duration, token).ConfigureAwait(false);
        }
        finally
        {
            Volatile.Write(ref s_running, 0);
        }
    }

    async Task<StackState> IStackSource.SampleAsync(TimeSpan duration, CancellationToken token)
    {
        MegaPipeStackReport report = await SampleAsync(duration, token).ConfigureAwait(false);
        return new StackState(
            report.Problem,
            [
                .. report.Stacks.Select(stack => new BlockedStackState(
                    stack.Title, stack.Channel, stack.ThreadId, stack.Samples, stack.Where, stack.Frames)),
            ]);
    }
}
