// Defaults and limits stand at the properties. What repeats them for readers says the same: the table, the XML
// documentation, the samples' configuration.
using System.Globalization;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;

namespace MegaPipe.Kestrel.Tests.Configuration;

[Trait("Area", "Configuration")]
public sealed partial class OptionDocumentsTests
{
    private static readonly MegaPipeTransportOptions s_defaults = new();

    [Fact]
    public void OptionLimits_EveryPropertyThatConfigurationSets_IsThereAndItsDefaultIsAllowed()
    {
        Assert.Equal(
            OptionCases.Properties.Select(property => property.Name), OptionLimits.All.Select(option => option.Key));
        Assert.All(OptionLimits.All, option => Assert.True(option.Allows(option.Value(s_defaults)), option.Key));
    }

    [Fact]
    public void TableOfOptions_EveryRow_HasTheDefaultAndTheRangeOfTheClass()
    {
        string[] rows =
        [
            .. TableRow().Matches(File.ReadAllText(RepositoryFolder.PathOf("docs/OPTIONS.md"))).Select(Cells),
        ];
        Assert.Equal(
            [
                .. OptionLimits.All.Select(option => $"{option.Key} | {Default(option)} | {Range(option)}"),
                $"{nameof(MegaPipeTransportOptions.CreateBoundListenSocket)} | the transport's own | code only",
            ],
            rows);
        static string Cells(Match row) => string.Join(" | ", row.Groups.Values.Skip(1).Select(cell => cell.Value))
            .Replace("`", "", StringComparison.Ordinal);
    }

    [Fact]
    public void Documentation_EveryOption_HasTheDefaultAndTheRangeOfTheClass()
    {
        Dictionary<string, string> summaries = XDocument
            .Load(Path.ChangeExtension(typeof(MegaPipeTransportOptions).Assembly.Location, ".xml"))
            .Descendants("member")
            .ToDictionary(
                member => (string)member.Attribute("name")!,
                member => WhiteSpace().Replace(((string?)member.Element("summary") ?? "").Trim(), " "));
        Assert.All(OptionLimits.All, option =>
        {
            string summary = summaries[$"P:{typeof(MegaPipeTransportOptions).FullName}.{option.Key}"];
            string unset = option.Value(s_defaults) is null ? "null: " : "";
            Assert.Matches($@"Default {Regex.Escape(unset + Default(option))}\b", summary);
            if (option.Limits is NumberAttribute or TimeAttribute)
            {
                Assert.Contains($" {Range(option).Replace("bytes; ", "", StringComparison.Ordinal)}.", summary,
                    StringComparison.Ordinal);
            }
        });
    }

    [Theory]
    [InlineData("WebApp", true)]
    [InlineData("Minimal", false)]
    public async Task AppSettings_OfASample_SayTheDefaults(string sample, bool all)
    {
        string file = RepositoryFolder.PathOf($"samples/{sample}/appsettings.json");
        IConfigurationSection section = new ConfigurationBuilder().AddJsonFile(file).Build()
            .GetSection(MegaPipeTransportOptions.SectionName);
        string[] keys = [.. section.GetChildren().Select(child => child.Key)];
        Assert.NotEmpty(keys);
        Assert.Subset(OptionLimits.All.Select(option => option.Key).ToHashSet(), keys.ToHashSet());
        await using WebApplication app = OptionCases.Build(configuration => configuration.AddJsonFile(file));
        MegaPipeTransportOptions bound = OptionCases.Resolve(app);
        Assert.All(OptionLimits.All.Where(option => all || keys.Contains(option.Key)), option =>
        {
            Assert.Contains(option.Key, keys);
            Assert.Equal(option.Value(s_defaults), option.Value(bound));
            // null in the file leaves a default alone: it says the truth only where that is null.
            Assert.Equal(option.Value(s_defaults) is null, string.IsNullOrEmpty(section[option.Key]));
        });
    }

    private static string Default(Option option) => option.Value(s_defaults) switch
    {
        bool flag => flag ? "true" : "false",
        var value => Readable(option.Text(value)),
    };

    private static string Range(Option option)
    {
        string unlimited = long.MaxValue.ToString(CultureInfo.InvariantCulture);
        return option.Allowed.EndsWith(unlimited, StringComparison.Ordinal)
            ? $"bytes; 0 or null: {option.Limits!.Unset}"
            : Readable(option.Allowed);
    }

    /// <summary>Thousands apart, times in the unit that makes them whole, and no CPUs of this machine.</summary>
    private static string Readable(string text) =>
        Time().IsMatch(text)
            ? Time().Replace(text, time => Unit(TimeSpan.Parse(time.Value, CultureInfo.InvariantCulture)))
            : Number().Replace(ThisMachine().Replace(text, ""), number => string.Create(
                CultureInfo.InvariantCulture, $"{long.Parse(number.Value, CultureInfo.InvariantCulture):N0}"));

    private static string Unit(TimeSpan time)
    {
        (double value, string unit) = time.TotalSeconds >= 1 ? (time.TotalSeconds, "s")
            : time.TotalMilliseconds >= 1 ? (time.TotalMilliseconds, "ms")
            : (time.TotalMicroseconds, "µs");
        return string.Create(CultureInfo.InvariantCulture, $"{value:#,0.###} {unit}");
    }

    [GeneratedRegex(@"^\| `(\w+)` \| ([^|]+?) \| ([^|]+?) \|", RegexOptions.Multiline)]
    private static partial Regex TableRow();

    [GeneratedRegex(@"\d+:\d+:\d+(\.\d+)?")]
    private static partial Regex Time();

    [GeneratedRegex(@"\b\d{4,}\b")]
    private static partial Regex Number();

    [GeneratedRegex(@" \([\d,-]+\)$")]
    private static partial Regex ThisMachine();

    [GeneratedRegex(@"\s+")]
    private static partial Regex WhiteSpace();
}
