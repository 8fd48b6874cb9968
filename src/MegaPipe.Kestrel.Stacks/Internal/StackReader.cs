// From a trace to the stacks of those that blocked.
using System.Globalization;
using Microsoft.Diagnostics.Tracing;
using Microsoft.Diagnostics.Tracing.Etlx;

namespace MegaPipe.Kestrel.Stacks.Internal;

internal static class StackReader
{
    /// <summary>Deeper ones are recursions.</summary>
    private const int MaxFrames = 256;

    private static readonly string[] s_frameworks = ["System.", "Microsoft."];

    private static readonly HashSet<string> s_own =
        ["MegaPipe.Native", "MegaPipe.Kestrel", "MegaPipe.Kestrel.Page", "MegaPipe.Kestrel.Stacks", "MegaPipe.Yarp"];

    private readonly record struct Sample(int Thread, double At, TraceCallStack Stack);

    public static IReadOnlyList<MegaPipeStackSample> Read(string trace, IReadOnlyList<StuckThread> stuck)
    {
        string converted = TraceLog.CreateFromEventPipeDataFile(
            trace, trace + ".etlx", new TraceLogOptions { ContinueOnError = true });
        using TraceLog log = new(converted);
        Stretches stretches = new();
        List<Sample> samples = [];
        foreach (TraceEvent one in log.Events)
        {
            if (one.ProviderName == "Microsoft-DotNETCore-SampleProfiler")
            {
                if (one.CallStack() is { } stack)
                {
                    samples.Add(new Sample(one.ThreadID, one.TimeStampRelativeMSec, stack));
                }
            }
            else if (one.ProviderName == "MegaPipe-Kestrel")
            {
                Read(one, stretches);
            }
        }

        foreach (StuckThread thread in stuck)
        {
            double at = (thread.At - log.SessionStartTime.ToUniversalTime()).TotalMilliseconds;
            stretches.StillStuck(
                thread, at, [.. samples.Where(one => one.Thread == thread.ThreadId).Select(one => one.At)]);
        }

        return Group(samples, stretches);
    }

    private static void Read(TraceEvent one, Stretches stretches)
    {
        int Number(string name) => Convert.ToInt32(one.PayloadByName(name), CultureInfo.InvariantCulture);
        switch (one.EventName)
        {
            case "HandOver":
                stretches.HandedOver(Number("thread"), Number("channel"), one.TimeStampRelativeMSec);
                break;
            case "Blocked":
                stretches.Blocked(
                    one.ThreadID, (string)one.PayloadByName("work"), Number("channel"),
                    Convert.ToDouble(one.PayloadByName("milliseconds"), CultureInfo.InvariantCulture),
                    one.TimeStampRelativeMSec);
                break;
        }
    }

    /// <summary>
    /// The application's own first. What has none of it while others have is a thread just before or behind its work.
    /// </summary>
    private static IEnumerable<MegaPipeStackSample> Choose(IEnumerable<MegaPipeStackSample> stacks)
    {
        // A method that was compiled again while it was sampled has several addresses, and so stacks.
        MegaPipeStackSample[] all =
        [
            .. stacks.GroupBy(stack => string.Join('\n', stack.Frames))
                .Select(same => same.First() with { Samples = same.Sum(stack => stack.Samples) })
                .OrderByDescending(stack => stack.Samples),
        ];
        MegaPipeStackSample[] own = [.. all.Where(stack => stack.Where is not null)];
        return (own.Length > 0 ? own : all).Take(MegaPipeStackSampler.MaxStacksOfEndpoint);
    }

    private static MegaPipeStackSample[] Group(List<Sample> samples, Stretches stretches)
    {
        // A stack has one number within a trace.
        Dictionary<(string, CallStackIndex), (Stretch Stretch, Sample First, int Count)> groups = [];
        foreach (Sample sample in samples)
        {
            if (stretches.Find(sample.Thread, sample.At) is { } stretch)
            {
                (string, CallStackIndex) key = (stretch.Title, sample.Stack.CallStackIndex);
                groups[key] = groups.TryGetValue(key, out (Stretch Stretch, Sample First, int Count) group)
                    ? group with { Count = group.Count + 1 } : (stretch, sample, 1);
            }
        }

        return
        [
            .. groups.Values.GroupBy(group => group.Stretch.Title)
                .OrderByDescending(endpoint => endpoint.Sum(group => group.Count))
                .SelectMany(endpoint => Choose(
                    endpoint.Select(group => Describe(group.Stretch, group.First, group.Count)))),
        ];
    }

    private static MegaPipeStackSample Describe(Stretch stretch, Sample sample, int count)
    {
        List<string> frames = [];
        string? where = null;
        for (TraceCallStack? one = sample.Stack; one is not null && frames.Count < MaxFrames; one = one.Caller)
        {
            string module = one.CodeAddress.ModuleName;
            string frame = $"{module}!{Method(one.CodeAddress.FullMethodName)}";
            frames.Add(frame);
            if (where is null && IsOfTheApp(module))
            {
                where = frame;
            }
        }

        return new MegaPipeStackSample(stretch.Title, stretch.Channel, sample.Thread, count, frames)
        {
            Where = where,
        };
    }

    private static bool IsOfTheApp(string module) => module.Length > 0 && !s_own.Contains(module) &&
        !Array.Exists(s_frameworks, name => module.StartsWith(name, StringComparison.Ordinal));

    /// <summary>Without the parameters, which stand there in the runtime's own language.</summary>
    internal static string Method(string name)
    {
        int parameters = name.IndexOf('(', StringComparison.Ordinal);
        return name.Length == 0 ? "?" : parameters > 0 ? name[..parameters] : name;
    }
}
