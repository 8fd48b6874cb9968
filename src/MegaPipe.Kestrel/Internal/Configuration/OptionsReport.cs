// Resolved options and kernel features as text, for the log and for MegaPipeStatus.
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace MegaPipe.Kestrel.Internal.Configuration;

internal static class OptionsReport
{
    /// <summary>Every option that configuration can set, in the order of the class.</summary>
    public static IReadOnlyDictionary<string, string> Describe(MegaPipeTransportOptions options) =>
        Describe(option => Resolved(option, options));

    /// <summary>The same after a fallback: what the stock transport really has of them.</summary>
    public static IReadOnlyDictionary<string, string> Describe(
        MegaPipeTransportOptions options, SocketTransportOptions sockets) => Describe(option => option.Key switch
        {
            nameof(options.Backlog) => sockets.Backlog,
            nameof(options.NoDelay) => sockets.NoDelay,
            nameof(options.MaxReadBufferSize) => sockets.MaxReadBufferSize,
            nameof(options.MaxWriteBufferSize) => sockets.MaxWriteBufferSize,
            _ => Resolved(option, options),
        });

    /// <summary>The options that are not what they would be without any configuration.</summary>
    public static string Changed(IReadOnlyDictionary<string, string> options)
    {
        IReadOnlyDictionary<string, string> defaults = Describe(new MegaPipeTransportOptions());
        string changed = Line(options.Where(option => option.Value != defaults[option.Key]));
        return changed.Length > 0 ? changed : "its default options";
    }

    public static string Line(IEnumerable<KeyValuePair<string, string>> options) =>
        string.Join(", ", options.Select(option => $"{option.Key}={option.Value}"));

    public static string Line(IReadOnlyList<MegaPipeFeatureStatus> features) => string.Join(
        ", ", features.Select(feature => feature.Available ? feature.Name : $"no {feature.Name}"));

    private static Dictionary<string, string> Describe(Func<Option, object?> value) =>
        OptionLimits.All.ToDictionary(option => option.Key, option => option.Text(value(option)));

    private static object? Resolved(Option option, MegaPipeTransportOptions options) =>
        option.Key == nameof(options.Channels) ? CpuList.ChannelsOf(options) : option.Value(options);
}
