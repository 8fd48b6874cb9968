// Options from the "MegaPipe" section of configuration, and their limits, checked when the host starts.
using System.Globalization;
using MegaPipe.Kestrel.Internal.Diagnostics;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel.Internal.Configuration;

/// <summary>Binds the section. Without a configuration in the services the defaults stand.</summary>
internal sealed class OptionsBinder(IServiceProvider services) : IConfigureOptions<MegaPipeTransportOptions>
{
    private int _warned;

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
            throw new OptionsValidationException(
                Options.DefaultName, typeof(MegaPipeTransportOptions), [Explain(section, error)]);
        }

        // The check at the host's start makes options of its own.
        if (Interlocked.Exchange(ref _warned, 1) == 0)
        {
            WarnOfUnknown(section);
        }
    }

    /// <summary>
    /// The binder passes over a key that no property has. Only a warning: the configuration may be a later version's.
    /// </summary>
    private void WarnOfUnknown(IConfigurationSection section)
    {
        ILogger? logger = null;
        foreach (IConfigurationSection option in section.GetChildren())
        {
            if (OptionLimits.Allowed(option.Key) is null)
            {
                logger ??= ((ILoggerFactory?)services.GetService(typeof(ILoggerFactory)))?
                    .CreateLogger(TransportLog.StartCategory);
                if (logger is not null)
                {
                    TransportLog.UnknownOption(logger, option.Path);
                }
            }
        }
    }

    /// <summary>
    /// The binder names the key; the section has the value, and the limits say what would have been right.
    /// </summary>
    private static string Explain(IConfigurationSection section, InvalidOperationException error)
    {
        foreach (IConfigurationSection option in section.GetChildren())
        {
            if (OptionLimits.Allowed(option.Key) is { } allowed &&
                error.Message.Contains($"'{option.Path}'", StringComparison.OrdinalIgnoreCase))
            {
                return OptionLimits.Message(option.Key, option.Value, allowed);
            }
        }

        return error.Message;
    }
}

/// <summary>Names key, value and allowed range of what is out of range.</summary>
internal sealed class OptionsValidator(IServiceProvider services) : IValidateOptions<MegaPipeTransportOptions>
{
    public ValidateOptionsResult Validate(string? name, MegaPipeTransportOptions options)
    {
        IConfiguration? configuration = (IConfiguration?)services.GetService(typeof(IConfiguration));
        List<string> failures =
            [.. OptionLimits.Check(options, configuration?.GetSection(MegaPipeTransportOptions.SectionName))];
        return failures.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);
    }
}
