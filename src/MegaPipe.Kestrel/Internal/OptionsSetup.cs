// Options from the "MegaPipe" section of configuration, and their limits, checked when the host starts.
using System.Globalization;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel.Internal;

/// <summary>Binds the section. Without a configuration in the services the defaults stand.</summary>
internal sealed class OptionsBinder(IServiceProvider services) : IConfigureOptions<MegaPipeTransportOptions>
{
    public void Configure(MegaPipeTransportOptions options)
    {
        if (services.GetService(typeof(IConfiguration)) is not IConfiguration configuration)
        {
            return;
        }

        IConfigurationSection section = configuration.GetSection(MegaPipeTransportOptions.SectionName);
        try
        {
            section.Bind(options);
        }
        catch (InvalidOperationException error)
        {
            // The binder names the key; the cause names the value.
            throw new OptionsValidationException(MegaPipeTransportOptions.SectionName, typeof(MegaPipeTransportOptions),
                [$"{error.Message} {error.InnerException?.Message}".TrimEnd()]);
        }
    }
}

/// <summary>Names key, value and allowed range of what is out of range.</summary>
internal sealed class OptionsValidator : IValidateOptions<MegaPipeTransportOptions>
{
    public ValidateOptionsResult Validate(string? name, MegaPipeTransportOptions options)
    {
        List<string> failures = [];
        Check(failures, nameof(options.Channels), options.Channels ?? 1, 1, 1024);
        Check(failures, nameof(options.MaxHandlesPerChannel), options.MaxHandlesPerChannel, 64, 1 << 20);
        Check(failures, nameof(options.ReceiveBufferCount), options.ReceiveBufferCount, 8, 1 << 15);
        Check(failures, nameof(options.ReceiveBufferSize), options.ReceiveBufferSize, 256, 1 << 20);
        Check(failures, nameof(options.BatchThreshold), options.BatchThreshold, 1, 1024);
        Check(failures, nameof(options.Backlog), options.Backlog, 1, 65_535);
        Check(failures, nameof(options.MaxReadBufferSize), options.MaxReadBufferSize ?? 0, 0, long.MaxValue);
        Check(failures, nameof(options.MaxWriteBufferSize), options.MaxWriteBufferSize ?? 0, 0, long.MaxValue);
        Check(failures, nameof(options.MaxCarriers), options.MaxCarriers, 2, 4096);
        Check(failures, nameof(options.KeepAliveRetryCount), options.KeepAliveRetryCount ?? 1, 1, 127);
        Check(failures, nameof(options.InlineBudget), options.InlineBudget, TimeSpan.FromMicroseconds(1), TimeSpan.FromSeconds(1));
        Check(failures, nameof(options.HandOverAfter), options.HandOverAfter, TimeSpan.FromMicroseconds(100), TimeSpan.FromSeconds(10));
        Check(failures, nameof(options.KeepAliveTime), options.KeepAliveTime ?? TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(32_767));
        Check(failures, nameof(options.KeepAliveInterval), options.KeepAliveInterval ?? TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(32_767));
        Defined(failures, nameof(options.LightweightSockets), options.LightweightSockets);
        Defined(failures, nameof(options.Scheduling), options.Scheduling);
        Defined(failures, nameof(options.Steering), options.Steering);
        Defined(failures, nameof(options.Fallback), options.Fallback);
        if ((options.ReceiveBufferCount & (options.ReceiveBufferCount - 1)) != 0)
        {
            Fail(failures, nameof(options.ReceiveBufferCount), options.ReceiveBufferCount, "a power of two");
        }

        if (options.CpuSet is not null && !CpuList.TryParse(options.CpuSet, out _))
        {
            Fail(failures, nameof(options.CpuSet), options.CpuSet, "a CPU list such as 0-3,8");
        }

        return failures.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);
    }

    private static void Check<T>(List<string> failures, string key, T value, T least, T most)
        where T : IComparable<T>
    {
        if (value.CompareTo(least) < 0 || value.CompareTo(most) > 0)
        {
            Fail(failures, key, value, string.Create(CultureInfo.InvariantCulture, $"{least} to {most}"));
        }
    }

    private static void Defined<T>(List<string> failures, string key, T value)
        where T : struct, Enum
    {
        if (!Enum.IsDefined(value))
        {
            Fail(failures, key, value, string.Join(", ", Enum.GetNames<T>()));
        }
    }

    private static void Fail<T>(List<string> failures, string key, T value, string allowed) => failures.Add(
        string.Create(CultureInfo.InvariantCulture,
            $"{MegaPipeTransportOptions.SectionName}:{key} is {value}; allowed: {allowed}."));
}
