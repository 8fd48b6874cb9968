// Resolved options and kernel features as text, for the log and for MegaPipeStatus.
using System.Globalization;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace MegaPipe.Kestrel.Internal.Configuration;

internal static class OptionsReport
{
    public static IReadOnlyDictionary<string, string> Describe(MegaPipeTransportOptions options) =>
        new Dictionary<string, string>
        {
            [nameof(options.Channels)] = Text(CpuList.ChannelsOf(options)),
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

    /// <summary>The options that are not what they would be without any configuration.</summary>
    public static string Changed(IReadOnlyDictionary<string, string> options)
    {
        IReadOnlyDictionary<string, string> defaults = Describe(new MegaPipeTransportOptions());
        string changed = Line(options.Where(option => option.Value != defaults[option.Key]));
        return changed.Length > 0 ? changed : "its default options";
    }

    public static string Line(IEnumerable<KeyValuePair<string, string>> options) =>
        string.Join(", ", options.Select(option => $"{option.Key}={option.Value}"));

    /// <summary>The same after a fallback: what the stock transport really has of them.</summary>
    public static IReadOnlyDictionary<string, string> Describe(
        MegaPipeTransportOptions options, SocketTransportOptions sockets) =>
        new Dictionary<string, string>(Describe(options))
        {
            [nameof(options.Backlog)] = Text(sockets.Backlog),
            [nameof(options.NoDelay)] = sockets.NoDelay.ToString(),
            [nameof(options.MaxReadBufferSize)] = Limit(sockets.MaxReadBufferSize),
            [nameof(options.MaxWriteBufferSize)] = Limit(sockets.MaxWriteBufferSize),
        };

    public static string Line(IReadOnlyList<MegaPipeFeatureStatus> features) => string.Join(
        ", ", features.Select(feature => feature.Available ? feature.Name : $"no {feature.Name}"));

    private static string Text<T>(T value)
        where T : IFormattable => value.ToString(null, CultureInfo.InvariantCulture);

    private static string TextOrSystem<T>(T? value)
        where T : struct, IFormattable => value is { } number ? Text(number) : "the system's";

    private static string Limit(long? value) => value is > 0 ? Text(value.Value) : "unlimited";
}
