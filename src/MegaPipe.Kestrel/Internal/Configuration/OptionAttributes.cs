// What an option may be, said at its property. Checks, messages, the report and the tests of documents read it there.
using System.Globalization;
using System.Text;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Configuration;

/// <summary>An option without one of these is a flag or has the names of its enum.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal abstract class OptionAttribute : Attribute
{
    /// <summary>What null stands for, and 0 where that means the same.</summary>
    public string? Unset { get; init; }

    /// <summary>What the option may be, in words.</summary>
    public abstract string Allowed { get; }

    public abstract bool Allows(object value);

    protected static string Range<T>(T least, T most) =>
        string.Create(CultureInfo.InvariantCulture, $"{least} to {most}");
}

internal sealed class NumberAttribute(long least, long most) : OptionAttribute
{
    public bool PowerOfTwo { get; init; }

    public override string Allowed => Range(least, most) + (PowerOfTwo ? ", a power of two" : "");

    public override bool Allows(object value) =>
        Convert.ToInt64(value, CultureInfo.InvariantCulture) is var number && number >= least && number <= most &&
        (!PowerOfTwo || long.IsPow2(number));
}

internal sealed class TimeAttribute(string least, string most) : OptionAttribute
{
    private readonly TimeSpan _least = TimeSpan.Parse(least, CultureInfo.InvariantCulture);
    private readonly TimeSpan _most = TimeSpan.Parse(most, CultureInfo.InvariantCulture);

    public override string Allowed => Range(_least, _most);

    public override bool Allows(object value) => value is TimeSpan time && time >= _least && time <= _most;
}

/// <summary>The address of a Unix socket; the kernel has room for so many bytes.</summary>
internal sealed class PlaceAttribute : OptionAttribute
{
    private const int MostBytes = 107;

    public override string Allowed => "a path, or @ and a name";

    public override bool Allows(object value) =>
        value is string { Length: > 0 } place && place != "@" && Encoding.UTF8.GetByteCount(place) <= MostBytes;
}

/// <summary>A channel on a CPU that its carrier may not use would be one more on the others.</summary>
internal sealed class CpusAttribute : OptionAttribute
{
    public override string Allowed => "a CPU list such as 0-3,8" + (OperatingSystem.IsLinux()
        ? $", of the CPUs that this process may use ({CpuList.Format(CpuAffinity.Allowed)})"
        : "");

    public override bool Allows(object value) => CpuList.TryParse((string)value, out int[]? cpus) &&
        (!OperatingSystem.IsLinux() || Array.TrueForAll(cpus, cpu => CpuAffinity.Allowed.Contains(cpu)));
}
