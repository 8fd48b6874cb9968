// What the page shows, as JSON. docs/DIAGNOSE.md lists the fields.
using System.Text.Json.Serialization;

namespace MegaPipe.Kestrel.Page.Internal;

/// <summary>Of <c>/state</c>: everything, with the samples of the last two minutes.</summary>
internal sealed record PageState(
    ProcessState Process, string Transport, string? FallbackReason, IReadOnlyDictionary<string, string> Options,
    IReadOnlyList<MegaPipeFeatureStatus> Features, IReadOnlyList<MegaPipeChannelStatus> Channels,
    IReadOnlyList<Sample> History, PageUpdate Now)
{
    /// <summary>Stacks can be asked for.</summary>
    public bool Stacks { get; init; }
}

internal sealed record ProcessState(
    int Id, string Name, DateTimeOffset Started, int Processors, string Framework, string System);

/// <summary>Of <c>/events</c>: one each second.</summary>
internal sealed record PageUpdate(
    string Transport, int CarriersLive, int CarriersSpare, Sample Sample, IReadOnlyList<BlockedState> Blocked);

/// <summary>What happened between two looks.</summary>
/// <param name="Time">Of the second look, in milliseconds since 1970.</param>
/// <param name="CpuPercent">CPU time of the process, 100 for one processor.</param>
/// <param name="Channels">In order of their numbers.</param>
internal sealed record Sample(long Time, double CpuPercent, IReadOnlyList<ChannelSample> Channels);

/// <summary>One channel. Rates are per second, times are means in microseconds.</summary>
internal sealed record ChannelSample(int Index)
{
    public long Connections { get; init; }

    public double Accepted { get; init; }

    public double Inline { get; init; }

    public double Offloaded { get; init; }

    public double TurnMicroseconds { get; init; }

    public double DelayMicroseconds { get; init; }

    public double Batch { get; init; }

    public long HandOvers { get; init; }

    /// <summary>Share of the time for which it stood still behind a stuck carrier, in percent.</summary>
    public double StalledPercent { get; init; }

    public long LeasesOut { get; init; }

    /// <summary>Flow groups that steer to it; null where the transport does not balance.</summary>
    public long? Groups { get; init; }
}

/// <summary>An endpoint that blocks.</summary>
internal sealed record BlockedState(
    string Title, string Protocol, string Name, string Cause, long Count, long OnPool, double TotalMilliseconds,
    double WorstMilliseconds, int StuckNow, double LongestNowMilliseconds, IReadOnlyList<int> Threads,
    IReadOnlyDictionary<int, long> HandOversByChannel, DateTimeOffset Last)
{
    /// <summary>Of the last minute, or of the time since somebody looked first where that is less.</summary>
    public long RecentCount { get; init; }

    public double RecentMilliseconds { get; init; }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(PageState))]
[JsonSerializable(typeof(PageUpdate))]
[JsonSerializable(typeof(StackState))]
internal sealed partial class StateJsonContext : JsonSerializerContext;
