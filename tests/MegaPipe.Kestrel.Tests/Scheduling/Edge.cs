// For tests that want two threads to do something at the same moment.
namespace MegaPipe.Kestrel.Tests.Scheduling;

/// <summary>
/// Keeps the rounds at the moment at which both exchange: whoever was first waits longer in the next one. The step
/// grows while one side stays first and shrinks when it changes.
/// </summary>
internal sealed class Edge
{
    private const int MaxStep = 1 << 12;

    // Of the watcher, where positive; of the carrier, where negative. A few tenths of a nanosecond each.
    private int _delay;
    private int _step = MaxStep;
    private bool _watcherWasFirst;

    public void DelayWatcher() => Spin(Volatile.Read(ref _delay));

    public void DelayCarrier() => Spin(-Volatile.Read(ref _delay));

    /// <summary>While the carrier waits for the next round.</summary>
    public void Learn(bool watcherWasFirst)
    {
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
