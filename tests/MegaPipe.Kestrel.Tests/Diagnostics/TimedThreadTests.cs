// Which request runs on which thread where no watcher looks.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Requests;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Diagnostics")]
public sealed class TimedThreadTests
{
    /// <summary>The coarse clock is late by 10 ms at most.</summary>
    private static readonly long s_coarse = Stopwatch.Frequency / 20;

    [Fact]
    public void Request_IsFoundFromATimeOnByItsTableUntilItEnds()
    {
        BlockingTable table = new(NullLogger.Instance, TimeSpan.FromMilliseconds(2));
        BlockingTable other = new(NullLogger.Instance, TimeSpan.FromMilliseconds(2));
        DefaultHttpContext context = new();
        context.Request.Method = "PUT";
        context.Request.Protocol = "HTTP/2";
        long before = Stopwatch.GetTimestamp();
        TimedThread thread = TimedThread.Begin(context, table);
        try
        {
            Assert.Empty(TimedThread.Find(table, before - s_coarse));
            Assert.Empty(TimedThread.Find(other, long.MaxValue));
            StuckWork work = Assert.Single(TimedThread.Find(table, long.MaxValue));
            Assert.Equal(("PUT (no endpoint)", BlockingRow.Pool), (work.Work.Title, work.Channel));
            Assert.Equal(ThreadProbe.CurrentId, work.ThreadId);
            Assert.InRange(work.Since, before - s_coarse, Stopwatch.GetTimestamp());

            Assert.True(SpinWait.SpinUntil(
                () => TimedThread.Find(table, Stopwatch.GetTimestamp() - s_coarse).Any(), InTimeExtensions.Limit));
            Assert.InRange(thread.Ticks, s_coarse / 2, Stopwatch.GetTimestamp() - before + s_coarse);
        }
        finally
        {
            thread.End();
        }

        Assert.Empty(TimedThread.Find(table, long.MaxValue));
    }
}
