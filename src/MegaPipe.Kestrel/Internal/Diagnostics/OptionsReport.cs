// Resolved options and kernel features as text, for the log and for MegaPipeStatus.
using System.Globalization;

namespace MegaPipe.Kestrel.Internal;

internal static class OptionsReport
{
    public static IReadOnlyDictionary<string, string> Describe(MegaPipeTransportOptions options) =>
        new Dictionary<string, string>
        {
            [nameof(options.Channels)] = Text(ChannelSet.CountOf(options)),
            [nameof(options.CpuSet)] = options.CpuSet ?? "not pinned",
            [nameof(options.Scheduling)] = options.Scheduling.ToString(),
            [nameof(options.InlineBudget)] = Text(options.InlineBudget),
            [nameof(options.HandOverAfter)] = Text(options.HandOverAfter),
            [nameof(options.MaxCarriers)] = Text(options.MaxCarriers),
            [nameof(options.MaxPoolThreads)] = Text(options.MaxPoolThreads),
            [nameof(options.LightweightSockets)] = options.LightweightSockets.ToString(),
            [nameof(options.Steering)] = options.Steering.ToString(),
            [nameof(options.MaxHandlesPerChannel)] = Text(options.MaxHandlesPerChannel),
            [nameof(options.ReceiveBufferCount)] = Text(options.ReceiveBufferCount),
            [nameof(options.ReceiveBufferSize)] = Text(options.ReceiveBufferSize),
            [nameof(options.BatchThreshold)] = Text(options.BatchThreshold),
            [nameof(options.Backlog)] = Text(options.Backlog),
            [nameof(options.NoDelay)] = options.NoDelay.ToString(),
            [nameof(options.KeepAlive)] = options.KeepAlive.ToString(),
            [nameof(options.KeepAliveTime)] = TextOrSystem(options.KeepAliveTime),
            [nameof(options.KeepAliveInterval)] = TextOrSystem(options.KeepAliveInterval),
            [nameof(options.KeepAliveRetryCount)] = TextOrSystem(options.KeepAliveRetryCount),
            [nameof(options.MaxReadBufferSize)] = Limit(options.MaxReadBufferSize),
            [nameof(options.MaxWriteBufferSize)] = Limit(options.MaxWriteBufferSize),
            [nameof(options.FinOnError)] = options.FinOnError.ToString(),
            [nameof(options.ShareAddress)] = options.ShareAddress.ToString(),
            [nameof(options.Fallback)] = options.Fallback.ToString(),
        };

    public static string Line(IReadOnlyDictionary<string, string> options) =>
        string.Join(", ", options.Select(option => $"{option.Key}={option.Value}"));

    public static string Line(IReadOnlyList<MegaPipeFeatureStatus> features) => string.Join(
        ", ", features.Select(feature => feature.Available ? feature.Name : $"no {feature.Name}"));

    private static string Text<T>(T value)
        where T : IFormattable => value.ToString(null, CultureInfo.InvariantCulture);

    private static string TextOrSystem<T>(T? value)
        where T : struct, IFormattable => value is { } number ? Text(number) : "the system's";

    private static string Limit(long? value) => value is > 0 ? Text(value.Value) : "unlimited";
}
