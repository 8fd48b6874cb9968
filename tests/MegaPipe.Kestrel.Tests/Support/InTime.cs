// Every wait of the suite: bounded, and naming what was awaited when it does not come.
using System.Runtime.CompilerServices;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class InTimeExtensions
{
    /// <summary>An order of magnitude above what a loaded two-core machine was seen to need.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    public static async Task InTime(
        this Task task, [CallerArgumentExpression(nameof(task))] string? what = null, TimeSpan? limit = null)
    {
        Task first = await Task.WhenAny(task, Task.Delay(limit ?? Limit));
        if (first != task)
        {
            Assert.Fail($"Still waiting after {(limit ?? Limit).TotalSeconds:0} s for: {what}");
        }

        await task;
    }

    public static async Task<T> InTime<T>(
        this Task<T> task, [CallerArgumentExpression(nameof(task))] string? what = null, TimeSpan? limit = null)
    {
        await ((Task)task).InTime(what, limit);
        return await task;
    }

    public static Task<T> InTime<T>(
        this ValueTask<T> task, [CallerArgumentExpression(nameof(task))] string? what = null) =>
        task.AsTask().InTime(what);

    public static Task InTime(this ValueTask task, [CallerArgumentExpression(nameof(task))] string? what = null) =>
        task.AsTask().InTime(what);
}

internal static class Eventually
{
    private static readonly TimeSpan PollInterval = TimeSpan.FromMilliseconds(5);

    /// <summary>Waits for a condition that no event announces (fd counts, kernel buffers filling).</summary>
    public static async Task True(
        Func<bool> condition, Func<string>? describe = null,
        [CallerArgumentExpression(nameof(condition))] string? what = null)
    {
        long deadline = Environment.TickCount64 + (long)InTimeExtensions.Limit.TotalMilliseconds;
        while (!condition())
        {
            if (Environment.TickCount64 > deadline)
            {
                Assert.Fail($"Never became true: {what}. {describe?.Invoke()}");
            }

            await Task.Delay(PollInterval);
        }
    }
}
