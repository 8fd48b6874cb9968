// A span for each time that an endpoint kept a thread, beneath the request's own.
using System.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

internal static class BlockingActivity
{
    public const string SourceName = "MegaPipe.Kestrel";

    private static readonly ActivitySource s_source = new(SourceName, "1.0");

    /// <summary>It has ended just now.</summary>
    public static void Add(WorkDescription work, int channel, long ticks, ThreadState state)
    {
        if (!s_source.HasListeners())
        {
            return;
        }

        Activity? current = Activity.Current;
        DateTime end = DateTime.UtcNow;
        using (Activity? activity = s_source.CreateActivity(
            $"blocked {work.Title}", ActivityKind.Internal, work.Parent))
        {
            if (activity is not null)
            {
                activity.SetTag("http.request.method", work.Method);
                activity.SetTag("http.route", work.Route);
                activity.SetTag(MegaPipeMetrics.ThreadTag, MegaPipeMetrics.ThreadKind(channel));
                activity.SetTag("megapipe.blocked.cause", state switch
                {
                    ThreadState.WaitsForThread => "wait",
                    ThreadState.WaitsForSystem => "synchronous_io",
                    ThreadState.Computes => "computing",
                    _ => null,
                });
                if (channel != BlockingRow.Pool)
                {
                    activity.SetTag(MegaPipeMetrics.ChannelTag, channel);
                }

                activity.SetStartTime(end - Stopwatch.GetElapsedTime(0, ticks));
                activity.Start();
                activity.SetEndTime(end);
            }
        }

        Activity.Current = current;
    }
}
