// The options of the class by name, and the messages for those that are out of their limits.
using System.Globalization;
using System.Reflection;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel.Internal.Configuration;

/// <summary>An option that configuration can set.</summary>
internal sealed class Option(PropertyInfo property)
{
    private readonly Type _type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;

    public string Key => property.Name;

    public OptionAttribute? Limits { get; } = property.GetCustomAttribute<OptionAttribute>();

    /// <summary>What it may be, in words.</summary>
    public string Allowed =>
        Limits?.Allowed ?? (_type.IsEnum ? string.Join(", ", Enum.GetNames(_type)) : "true, false");

    public object? Value(MegaPipeTransportOptions options) => property.GetValue(options);

    public bool Allows(object? value) =>
        value is null || (Limits?.Allows(value) ?? (!_type.IsEnum || Enum.IsDefined(_type, value)));

    public string Text(object? value) => Limits?.Unset is { } unset && value is (null or 0L)
        ? unset
        : Convert.ToString(value, CultureInfo.InvariantCulture)!;
}

internal static class OptionLimits
{
    /// <summary>In the order of the class. A delegate cannot come from configuration.</summary>
    public static readonly Option[] All =
    [
        .. typeof(MegaPipeTransportOptions).GetProperties(BindingFlags.Public | BindingFlags.Instance)
            .Where(property => !typeof(Delegate).IsAssignableFrom(property.PropertyType))
            .Select(property => new Option(property)),
    ];

    /// <summary>What an option may be, in words; null for an unknown key.</summary>
    public static string? Allowed(string key) => Array.Find(
        All, option => string.Equals(option.Key, key, StringComparison.OrdinalIgnoreCase))?.Allowed;

    /// <summary>The options, for those that a caller hands over by themselves.</summary>
    /// <exception cref="OptionsValidationException">A value is out of its limits.</exception>
    public static MegaPipeTransportOptions Checked(MegaPipeTransportOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        string[] failures = [.. Check(options, null)];
        return failures.Length == 0
            ? options
            : throw new OptionsValidationException(Options.DefaultName, typeof(MegaPipeTransportOptions), failures);
    }

    /// <summary>
    /// A message for each value that is out of its limits. A value that comes from configuration is shown as it was
    /// typed there: <c>InlineBudget=100</c> is a hundred days, which its own text would hide.
    /// </summary>
    public static IEnumerable<string> Check(MegaPipeTransportOptions options, IConfigurationSection? section)
    {
        Option[] unmet = Array.FindAll(All, option => !option.Allows(option.Value(options)));
        if (unmet.Length == 0)
        {
            return [];
        }

        MegaPipeTransportOptions configured = new();
        if (section is not null)
        {
            section.Bind(configured);
        }

        return unmet.Select(option =>
        {
            object? value = option.Value(options);
            string? typed = Equals(value, option.Value(configured)) ? section?[option.Key] : null;
            return Message(option.Key, typed is null ? value : Shown(typed, value), option.Allowed);
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
}
