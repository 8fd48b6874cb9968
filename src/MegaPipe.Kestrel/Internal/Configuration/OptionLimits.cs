// The limits of the options: one table, for checks and for messages.
using System.Globalization;
using MegaPipe.Native;
using Microsoft.Extensions.Configuration;

namespace MegaPipe.Kestrel.Internal.Configuration;

internal static class OptionLimits
{
    private static readonly Limit[] s_limits =
    [
        Range(nameof(MegaPipeTransportOptions.Channels), options => options.Channels, 1, 1024),
        Range(
            nameof(MegaPipeTransportOptions.MaxHandlesPerChannel), options => options.MaxHandlesPerChannel,
            64, 1 << 20),
        new(nameof(MegaPipeTransportOptions.ReceiveBufferCount), options => options.ReceiveBufferCount,
            options => options.ReceiveBufferCount is >= 8 and <= 32_768 && int.IsPow2(options.ReceiveBufferCount),
            "8 to 32768, a power of two"),
        Range(nameof(MegaPipeTransportOptions.ReceiveBufferSize), options => options.ReceiveBufferSize, 256, 1 << 20),
        Range(nameof(MegaPipeTransportOptions.BatchThreshold), options => options.BatchThreshold, 1, 1024),
        Range(nameof(MegaPipeTransportOptions.Backlog), options => options.Backlog, 1, 65_535),
        Range(
            nameof(MegaPipeTransportOptions.MaxReadBufferSize), options => options.MaxReadBufferSize, 0, long.MaxValue),
        Range(
            nameof(MegaPipeTransportOptions.MaxWriteBufferSize), options => options.MaxWriteBufferSize,
            0, long.MaxValue),
        Range(nameof(MegaPipeTransportOptions.MaxCarriers), options => options.MaxCarriers, 2, 4096),
        Range(nameof(MegaPipeTransportOptions.MaxPoolThreads), options => options.MaxPoolThreads, 0, 32_767),
        Range(nameof(MegaPipeTransportOptions.KeepAliveRetryCount), options => options.KeepAliveRetryCount, 1, 127),
        Time(nameof(MegaPipeTransportOptions.InlineBudget), options => options.InlineBudget,
            TimeSpan.FromMicroseconds(1), TimeSpan.FromSeconds(1)),
        Time(nameof(MegaPipeTransportOptions.HandOverAfter), options => options.HandOverAfter,
            TimeSpan.FromMicroseconds(100), TimeSpan.FromSeconds(10)),
        Time(nameof(MegaPipeTransportOptions.KeepAliveTime), options => options.KeepAliveTime,
            TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(32_767)),
        Time(nameof(MegaPipeTransportOptions.KeepAliveInterval), options => options.KeepAliveInterval,
            TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(32_767)),
        Names(nameof(MegaPipeTransportOptions.LightweightSockets), options => options.LightweightSockets),
        Names(nameof(MegaPipeTransportOptions.Scheduling), options => options.Scheduling),
        Names(nameof(MegaPipeTransportOptions.Steering), options => options.Steering),
        Names(nameof(MegaPipeTransportOptions.Fallback), options => options.Fallback),
        new(nameof(MegaPipeTransportOptions.CpuSet), options => options.CpuSet,
            options => options.CpuSet is null || (CpuList.TryParse(options.CpuSet, out int[]? cpus) && AreUsable(cpus)),
            "a CPU list such as 0-3,8" + (OperatingSystem.IsLinux()
                ? $", of the CPUs that this process may use ({CpuList.Format(CpuAffinity.Allowed)})"
                : "")),
        Flag(nameof(MegaPipeTransportOptions.NoDelay)),
        Flag(nameof(MegaPipeTransportOptions.FinOnError)),
        Flag(nameof(MegaPipeTransportOptions.ShareAddress)),
        Flag(nameof(MegaPipeTransportOptions.KeepAlive)),
    ];

    /// <summary>What an option may be, in words; null for an unknown key.</summary>
    public static string? Allowed(string key) => Array.Find(
        s_limits, limit => string.Equals(limit.Key, key, StringComparison.OrdinalIgnoreCase))?.Allowed;

    /// <summary>
    /// A message for each value that is out of its limits. A value that comes from configuration is shown as it was
    /// typed there: <c>InlineBudget=100</c> is a hundred days, which its own text would hide.
    /// </summary>
    public static IEnumerable<string> Check(MegaPipeTransportOptions options, IConfigurationSection? section)
    {
        Limit[] unmet = [.. s_limits.Where(limit => !limit.IsMet(options))];
        if (unmet.Length == 0)
        {
            return [];
        }

        MegaPipeTransportOptions configured = new();
        if (section is not null)
        {
            section.Bind(configured);
        }

        return unmet.Select(limit =>
        {
            object? value = limit.Value(options);
            string? typed = Equals(value, limit.Value(configured)) ? section?[limit.Key] : null;
            return Message(limit.Key, typed is null ? value : Shown(typed, value), limit.Allowed);
        });
    }

    public static string Message(string key, object? value, string allowed) => string.Create(
        CultureInfo.InvariantCulture, $"{MegaPipeTransportOptions.SectionName}:{key} is {value}; allowed: {allowed}.");

    /// <summary>What was typed, and what it means where that is something else.</summary>
    private static string Shown(string typed, object? value)
    {
        string meaning = string.Create(CultureInfo.InvariantCulture, $"{value}");
        return value is TimeSpan && typed != meaning ? $"{typed} (which means {meaning})" : typed;
    }

    /// <summary>A channel on a CPU that its carrier may not use would be one more on the others.</summary>
    private static bool AreUsable(int[] cpus) =>
        !OperatingSystem.IsLinux() || Array.TrueForAll(cpus, cpu => CpuAffinity.Allowed.Contains(cpu));

    private static Limit Range(string key, Func<MegaPipeTransportOptions, long?> value, long least, long most) => new(
        key, options => value(options),
        options => value(options) is not { } number || (number >= least && number <= most),
        string.Create(CultureInfo.InvariantCulture, $"{least} to {most}"));

    private static Limit Time(
        string key, Func<MegaPipeTransportOptions, TimeSpan?> value, TimeSpan least, TimeSpan most) => new(
        key, options => value(options), options => value(options) is not { } time || (time >= least && time <= most),
        string.Create(CultureInfo.InvariantCulture, $"{least} to {most}"));

    private static Limit Names<T>(string key, Func<MegaPipeTransportOptions, T> value)
        where T : struct, Enum => new(
        key, options => value(options), options => Enum.IsDefined(value(options)),
        string.Join(", ", Enum.GetNames<T>()));

    private static Limit Flag(string key) => new(key, _ => null, _ => true, "true, false");

    private sealed record Limit(
        string Key, Func<MegaPipeTransportOptions, object?> Value, Func<MegaPipeTransportOptions, bool> IsMet,
        string Allowed);
}
