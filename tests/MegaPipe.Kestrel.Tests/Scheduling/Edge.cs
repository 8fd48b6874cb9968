// For tests that want two threads to do something at the same moment.
using System.Diagnostics;

namespace MegaPipe.Kestrel.Tests.Scheduling;

/// <summary>
/// Keeps the rounds at the moment at which both exchange: whoever was first waits longer in the next one. The step
/// grows while one side stays first and shrinks when it changes.
/// </summary>
internal sealed class Edge
{
    /// <summary>A machine so busy that one side always waits for a CPU is given up after this time.</summary>
    private static readonly TimeSpan s_mostTime = TimeSpan.FromSeconds(15);

    private const int MaxStep = 1 << 12;
    private static readonly long s_close = Stopwatch.Frequency / 1_000_000 * 2;

    private readonly long _start = Stopwatch.GetTimestamp();
    private long _carrierAt;

    // Of the watcher, where positive; of the carrier, where negative. A few tenths of a nanosecond each.
    private int _delay;
    private int _step = MaxStep;
    private bool _watcherWasFirst;

    public int CloseRounds { get; private set; }

    public bool IsOver => Stopwatch.GetElapsedTime(_start) >= s_mostTime;

    public void DelayWatcher() => Spin(Volatile.Read(ref _delay));

    public void DelayCarrier()
    {
        Spin(-Volatile.Read(ref _delay));
        Volatile.Write(ref _carrierAt, Stopwatch.GetTimestamp());
    }

    /// <summary>The watcher, right after its exchange.</summary>
    public void Learn(bool watcherWasFirst)
    {
        CloseRounds += Math.Abs(Stopwatch.GetTimestamp() - Volatile.Read(ref _carrierAt)) < s_close ? 1 : 0;
        _step = watcherWasFirst == _watcherWasFirst ? Math.Min(_step * 2, MaxStep) : Math.Max(_step / 4, 1);
        _watcherWasFirst = watcherWasFirst;
        Volatile.Write(ref _delay, _delay + (watcherWasFirst ? _step : -_step));
    }

    private static void Spin(int count)
    {
        int place = 0;
        while (Volatile.Read(ref place) < count)
        {
            place++;
        }
    }
}
