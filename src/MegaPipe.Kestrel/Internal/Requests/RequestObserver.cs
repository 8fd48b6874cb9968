// Tells the watcher which request a connection serves, and times requests where no watcher looks.
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Diagnostics;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Internal.Requests;

/// <summary>
/// The outermost middleware. On a carrier it compares two references and an epoch: the watcher asks when something is
/// stuck. On another thread (offloaded connections, HTTP/2, the schedulings without a watcher) it reads the coarse
/// clock before and after the handler's part up to its first <c>await</c>.
/// </summary>
internal sealed class RequestObserver : IStartupFilter
{
    private readonly BlockingTable _table;

    public RequestObserver(BlockingTable table)
    {
        _table = table;
        table.FindOthers = before => TimedThread.Find(table, before);
    }

    public Action<IApplicationBuilder> Configure(Action<IApplicationBuilder> next) => app =>
    {
        app.Use(Observe);
        next(app);
    };

    private RequestDelegate Observe(RequestDelegate next) => context =>
    {
        if (!_table.Enabled)
        {
            return next(context);
        }

        if (ContinuationCost.Running is not { } running || Carried.OfThisThread is not { } carried)
        {
            return Timed(next, context);
        }

        if (running.Request is not RequestWork work)
        {
            running.Request = work = new RequestWork();
        }

        work.Begin(context);
        Task task = next(context);
        if (!carried.IsCarriedByThisThread && work.Describe() is { } known)
        {
            carried.TellStuck(known);
        }

        return task;
    };

    private Task Timed(RequestDelegate next, HttpContext context)
    {
        TimedThread thread = TimedThread.Begin(context, _table);
        try
        {
            return next(context);
        }
        finally
        {
            long ticks = thread.Ticks;
            if (ticks >= _table.DoubtTicks)
            {
                Add(thread, thread.Charge(ticks));
            }

            thread.End();
        }
    }

    private void Add(TimedThread thread, long ticks)
    {
        if (ticks >= _table.DoubtTicks && thread.Describe() is { } work)
        {
            _table.Add(work, ticks);
        }
    }
}
