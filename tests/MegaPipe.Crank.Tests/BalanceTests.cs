// The simulator of crank/balance-simulate: that it is repeatable, and that balancing does in it what it is for.
namespace MegaPipe.Crank.Tests;

public sealed class BalanceTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(120);

    [Fact]
    public async Task Simulate_FourChannels_BalancedBeatsHashWhereThereIsSomethingToBalance()
    {
        Dictionary<(string Pattern, string Variant), string[]> rows = (await SimulateAsync("simulate --cores 4"))
            .Skip(1).Select(line => line.Split(',')).ToDictionary(row => (row[0], row[2]));
        Assert.Equal(36, rows.Count);
        Assert.True(Number("Skewed", "Balanced", 6) * 10 < Number("Skewed", "Hash", 6));
        Assert.True(Number("Shifting", "Balanced", 6) * 10 < Number("Shifting", "Hash", 6));
        Assert.InRange(Number("Hung", "Balanced", 11), 0, 250_000);
        Assert.InRange(Number("Hung", "Hash", 11), 1_500_000, double.MaxValue);
        Assert.InRange(Number("Uniform", "Balanced", 6) / Number("Uniform", "Hash", 6), 0.9, 1.1);
        Assert.Equal(0, Number("Uniform", "Balanced", 10));

        double Number(string pattern, string variant, int column) => double.Parse(
            rows[(pattern, variant)][column], System.Globalization.CultureInfo.InvariantCulture);
    }

    [Fact]
    public async Task Simulate_SameSeed_SameRows()
    {
        string[] first = await SimulateAsync("simulate --cores 2 --seed 7");
        Assert.Equal(first, await SimulateAsync("simulate --cores 2 --seed 7"));
        Assert.NotEqual(first, await SimulateAsync("simulate --cores 2 --seed 8"));
    }

    [Fact]
    public async Task UnknownCommand_UsageAndStatus2()
    {
        using RunProcess run = RunProcess.Start(
            Path.Combine(Repository.Balance, "MegaPipe.Balance"), "guess", Repository.Root);
        Assert.Equal(2, await run.WaitForExitAsync(s_limit));
        Assert.Contains("usage:", run.Output, StringComparison.Ordinal);
    }

    private static async Task<string[]> SimulateAsync(string arguments)
    {
        using RunProcess run = RunProcess.Start(
            Path.Combine(Repository.Balance, "MegaPipe.Balance"), arguments, Repository.Root);
        Assert.Equal(0, await run.WaitForExitAsync(s_limit));
        return run.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
    }
}
