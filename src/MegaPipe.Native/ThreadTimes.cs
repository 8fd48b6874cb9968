// What the kernel counts of the calling thread.
namespace MegaPipe.Native;

/// <summary>
/// CPU time of the calling thread, and how often it gave its CPU up of its own accord, to sleep or wait: a preemption
/// is not counted. Two system calls.
/// </summary>
internal readonly unsafe record struct ThreadTimes(TimeSpan Cpu, long Waits)
{
    public static bool TryRead(out ThreadTimes times)
    {
        ulong cpuNs, waits;
        bool known = NativeMethods.mp_thread_times(&cpuNs, &waits) == 0;
        times = known ? new(TimeSpan.FromTicks((long)cpuNs / TimeSpan.NanosecondsPerTick), (long)waits) : default;
        return known;
    }
}
