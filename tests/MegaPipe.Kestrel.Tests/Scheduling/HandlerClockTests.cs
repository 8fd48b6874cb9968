// What the runtime takes of a handler's time is not the handler's.
using System.Diagnostics;
using System.Reflection;
using System.Runtime;
using System.Runtime.CompilerServices;
using MegaPipe.Kestrel.Internal.Carrying;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class HandlerClockTests
{
    /// <summary>In ticks: a moment that is as good as any, and longer than anything that is left out of it.</summary>
    private static readonly long s_minute = 60 * Stopwatch.Frequency;

    [Fact]
    public void Take_ThreadCompiled_LeavesTheCompilationOut()
    {
        TimeSpan compiledBefore = JitInfo.GetCompilationTime(currentThread: true);
        HandlerClock clock = HandlerClock.Start();
        long start = Stopwatch.GetTimestamp();
        foreach (MethodInfo method in typeof(HandlerClockTests).Assembly.GetTypes()
            .Where(type => !type.ContainsGenericParameters)
            .SelectMany(type => type.GetMethods(
                BindingFlags.DeclaredOnly | BindingFlags.Public | BindingFlags.NonPublic |
                BindingFlags.Instance | BindingFlags.Static))
            .Where(method => !method.IsAbstract && !method.ContainsGenericParameters)
            .Take(500))
        {
            RuntimeHelpers.PrepareMethod(method.MethodHandle);
        }

        long took = Stopwatch.GetTimestamp() - start;
        TimeSpan compiled = JitInfo.GetCompilationTime(currentThread: true) - compiledBefore;
        Assert.True(compiled > TimeSpan.FromMilliseconds(1), $"compiled for {compiled}");
        AssertLeftOut(compiled, took, clock.Take(took, out _));
    }

    [Fact]
    public void Take_CollectorPaused_LeavesThePausesOut()
    {
        object[] alive = [.. Enumerable.Range(0, 500_000).Select(i => (object)new object[] { i })];
        TimeSpan pausedBefore = GC.GetTotalPauseDuration();
        HandlerClock clock = HandlerClock.Start();
        long start = Stopwatch.GetTimestamp();
        GC.Collect(2, GCCollectionMode.Forced, blocking: true, compacting: true);
        long took = Stopwatch.GetTimestamp() - start;
        TimeSpan paused = GC.GetTotalPauseDuration() - pausedBefore;
        GC.KeepAlive(alive);
        Assert.True(paused > TimeSpan.Zero);
        AssertLeftOut(paused, took, clock.Take(took, out _));
    }

    [Fact]
    public void Freshen_ReadAMomentAgo_StillLeavesOutWhatCameSince()
    {
        HandlerClock clock = default;
        clock.Freshen(s_minute);
        TimeSpan paused = PauseOnce();
        clock.Freshen(s_minute + (Stopwatch.Frequency / 2000));
        AssertLeftOut(paused, s_minute, clock.Take(s_minute, out _));
    }

    [Fact]
    public void Freshen_ReadLongAgo_CountsFromNowOn()
    {
        HandlerClock clock = default;
        clock.Freshen(s_minute);
        TimeSpan paused = PauseOnce();
        TimeSpan before = TakenByRuntime();
        clock.Freshen(s_minute + (Stopwatch.Frequency / 500));
        long charged = clock.Take(s_minute, out _);
        TimeSpan meanwhile = TakenByRuntime() - before; // by another thread's collection
        Assert.True(paused > TimeSpan.Zero);
        Assert.InRange(charged, s_minute - (long)(meanwhile.TotalSeconds * Stopwatch.Frequency) - 1, s_minute);
    }

    [Fact]
    public void Take_ThreadBlocked_CountsAll()
    {
        HandlerClock clock = HandlerClock.Start();
        long start = Stopwatch.GetTimestamp();
        Thread.Sleep(50);
        long took = Stopwatch.GetTimestamp() - start;
        // Another thread's collection may pause this one meanwhile, hardly for half of the time.
        Assert.True(clock.Take(took, out _) > took / 2);
    }

    [Fact]
    public void Take_ExactAndThreadHadNoCpu_CountsItsCpuTimeOnly()
    {
        TimeSpan wall = TimeSpan.FromMinutes(1);
        long charged;
        bool waited;
        int attempts = 0;
        do
        {
            HandlerClock clock = HandlerClock.StartExact();
            Assert.True(clock.IsExact);
            for (int i = 0; i < 100_000; i++)
            {
                Volatile.Read(ref attempts);
            }

            charged = clock.Take((long)(wall.TotalSeconds * Stopwatch.Frequency), out waited);
            Assert.False(clock.IsExact);
        }
        while (waited && ++attempts < 1000); // a collection makes the thread wait
        Assert.False(waited);
        Assert.InRange(charged, 0, (long)(wall.TotalSeconds * Stopwatch.Frequency) / 2);
    }

    [Fact]
    public void Take_ExactAndThreadBlocked_CountsAllAndSaysSo()
    {
        HandlerClock clock = HandlerClock.StartExact();
        long start = Stopwatch.GetTimestamp();
        Thread.Sleep(50);
        long took = Stopwatch.GetTimestamp() - start;
        Assert.True(clock.Take(took, out bool waited) > took / 2);
        Assert.True(waited);
    }

    private static TimeSpan TakenByRuntime() =>
        GC.GetTotalPauseDuration() + JitInfo.GetCompilationTime(currentThread: true);

    /// <summary>At least so long was every thread paused by a collection.</summary>
    private static TimeSpan PauseOnce()
    {
        TimeSpan before = GC.GetTotalPauseDuration();
        GC.Collect(0, GCCollectionMode.Forced, blocking: true);
        return GC.GetTotalPauseDuration() - before;
    }

    private static void AssertLeftOut(TimeSpan taken, long took, long left)
    {
        long expected = took - (long)(taken.TotalSeconds * Stopwatch.Frequency);
        // The clock asks after the test, so it may leave out a little more.
        Assert.InRange(left, 0, Math.Max(0, expected));
    }
}
