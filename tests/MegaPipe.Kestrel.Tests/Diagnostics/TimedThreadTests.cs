// Which request runs on which thread where no watcher looks.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Requests;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Diagnostics")]
public sealed class TimedThreadTests
{
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
        long after = Stopwatch.GetTimestamp();
        try
        {
            Assert.Empty(TimedThread.Find(table, before - 1));
            Assert.Empty(TimedThread.Find(other, after));
            StuckWork work = Assert.Single(TimedThread.Find(table, after));
            Assert.Equal(("PUT (no endpoint)", BlockingRow.Pool), (work.Work.Title, work.Channel));
            Assert.Equal(ThreadProbe.CurrentId, work.ThreadId);
            Assert.InRange(work.Since, before, after);
        }
        finally
        {
            thread.End();
        }

        Assert.Empty(TimedThread.Find(table, after));
    }
}
