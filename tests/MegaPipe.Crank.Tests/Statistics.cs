// The statistics block that crank's agent looks for in a load job's output.
using System.Text.Json;

namespace MegaPipe.Crank.Tests;

internal static class Statistics
{
    private static readonly string[] s_operations =
        ["First", "Last", "Avg", "Sum", "Median", "Max", "Min", "Count", "All", "Delta"];

    /// <summary>Measurements by name; fails where the block is not as the agent needs it.</summary>
    public static Dictionary<string, JsonElement> Parse(string output)
    {
        string[] lines = [.. output.Split('\n').Select(line => line.Trim())];
        int start = Array.IndexOf(lines, "#StartJobStatistics"), end = Array.IndexOf(lines, "#EndJobStatistics");
        Assert.True(start >= 0 && end > start, $"no statistics block in:\n{output}");
        // The agent appends stderr to the same log; a line of it inside the block would break the JSON.
        using JsonDocument block = JsonDocument.Parse(string.Join('\n', lines[(start + 1)..end]));
        HashSet<string> described = [];
        foreach (JsonElement metadata in block.RootElement.GetProperty("Metadata").EnumerateArray())
        {
            described.Add(metadata.GetProperty("Name").GetString()!);
            Assert.Contains(metadata.GetProperty("Aggregate").GetString(), s_operations);
            Assert.Contains(metadata.GetProperty("Reduce").GetString(), s_operations);
            Assert.NotEmpty(metadata.GetProperty("ShortDescription").GetString()!);
            Assert.True(metadata.TryGetProperty("Format", out _) && metadata.TryGetProperty("LongDescription", out _)
                && metadata.TryGetProperty("Source", out _));
        }

        Dictionary<string, JsonElement> values = [];
        foreach (JsonElement measurement in block.RootElement.GetProperty("Measurements").EnumerateArray())
        {
            Assert.True(measurement.GetProperty("Timestamp").TryGetDateTime(out _));
            values.Add(measurement.GetProperty("Name").GetString()!, measurement.GetProperty("Value").Clone());
        }

        Assert.Equal(described.Order(), values.Keys.Order());
        return values;
    }
}
