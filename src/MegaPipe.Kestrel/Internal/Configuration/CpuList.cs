// "0-3,8": CPU lists as taskset, cpuset and the kernel write them.
using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace MegaPipe.Kestrel.Internal.Configuration;

internal static class CpuList
{
    /// <summary>CPU numbers that a pinned thread can have here.</summary>
    private const int MaxCpu = 1023;

    public static int[] Parse(string text) =>
        TryParse(text, out int[]? cpus) ? cpus : throw new FormatException($"'{text}' is no CPU list such as 0-3,8.");

    public static bool TryParse(string text, [NotNullWhen(true)] out int[]? cpus)
    {
        SortedSet<int> found = [];
        cpus = null;
        foreach (string part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            string[] ends = part.Split('-', StringSplitOptions.TrimEntries);
            if (ends.Length > 2 || !TryNumber(ends[0], out int first) || !TryNumber(ends[^1], out int last) ||
                last < first)
            {
                return false;
            }

            found.UnionWith(Enumerable.Range(first, last - first + 1));
        }

        cpus = [.. found];
        return cpus.Length > 0;
    }

    /// <summary>As <see cref="Parse"/> reads it; ascending.</summary>
    public static string Format(IReadOnlyList<int> cpus)
    {
        List<string> parts = [];
        for (int first = 0, next; first < cpus.Count; first = next)
        {
            next = first + 1;
            while (next < cpus.Count && cpus[next] == cpus[next - 1] + 1)
            {
                next++;
            }

            parts.Add(next - first == 1
                ? string.Create(CultureInfo.InvariantCulture, $"{cpus[first]}")
                : string.Create(CultureInfo.InvariantCulture, $"{cpus[first]}-{cpus[next - 1]}"));
        }

        return string.Join(',', parts);
    }

    /// <summary>The number of channels that the options come to.</summary>
    public static int ChannelsOf(MegaPipeTransportOptions options) =>
        options.Channels ?? (options.CpuSet is { } cpus ? Parse(cpus).Length : Environment.ProcessorCount);

    private static bool TryNumber(string text, out int number) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number) && number <= MaxCpu;
}
