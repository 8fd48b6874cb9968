// What the watcher has to say to the log of a host.
using MegaPipe.Kestrel.Internal.Diagnostics;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>Each warning once per host, and never on the watcher's own thread: a logger may block.</summary>
internal sealed class CarrierWarnings(ILogger logger, int maxCarriers)
{
    private int _saidExhausted;
    private int _saidNoThread;

    /// <summary>Nearly all carriers are stuck.</summary>
    public void Exhausted() =>
        SayOnce(ref _saidExhausted, () =>
        {
            MegaPipeEventSource.Log.CarriersExhausted(maxCarriers);
            TransportLog.CarriersExhausted(logger, maxCarriers);
        });

    /// <summary>A carrier was needed, and no thread could be started.</summary>
    public void NoThread() =>
        SayOnce(ref _saidNoThread, () =>
        {
            string limits = ThreadLimits.Describe();
            MegaPipeEventSource.Log.NoThread(limits);
            TransportLog.NoThread(logger, limits);
        });

    private static void SayOnce(ref int said, Action message)
    {
        if (Interlocked.Exchange(ref said, 1) == 0)
        {
            ThreadPool.UnsafeQueueUserWorkItem(static message => message(), message, preferLocal: false);
        }
    }
}
