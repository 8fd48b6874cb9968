// Many simulations, as rows of CSV. The same seed gives the same rows.
using MegaPipe.Kestrel.Internal.Balancing;

namespace MegaPipe.Balance;

internal static class Simulations
{
    private const int SweepSeeds = 3;

    private static readonly bool[] s_staysAndMoves = [false, true];

    private static readonly (string Name, double[] Values, Func<BalancingSettings, double, BalancingSettings> With)[]
        s_constants =
    [
        ("HighWatermark", [0.25, 0.5, 0.75, 1.5, 3], (settings, value) => settings with { HighWatermark = value }),
        ("LowWatermark", [0, 0.05, 0.1, 0.2, 0.4], (settings, value) => settings with { LowWatermark = value }),
        ("Apart", [1.25, 1.5, 2, 3, 5], (settings, value) => settings with { Apart = value }),
        ("Together", [1, 1.1, 1.25, 1.5, 2], (settings, value) => settings with { Together = value }),
        ("AverageLooks", [1, 4, 8, 16, 32], (settings, value) => settings with { AverageLooks = (int)value }),
        ("WorkLooks", [10, 30, 100, 300], (settings, value) => settings with { WorkLooks = (int)value }),
        ("WorkToMigrate", [0, 0.25, 0.5, 0.75], (settings, value) => settings with { WorkToMigrate = value }),
        ("WorkApart", [1, 1.05, 1.1, 1.2, 1.5], (settings, value) => settings with { WorkApart = value }),
        ("LocalPerStolen", [1, 2, 5, 10, 20], (settings, value) => settings with { LocalPerStolen = (int)value }),
        ("GroupsPerChannel", [8, 16, 32, 64], (settings, value) => settings with { GroupsPerChannel = (int)value }),
    ];

    public static int Run(Arguments arguments)
    {
        var runs =
            from pattern in Enum.GetValues<Pattern>()
            from cores in arguments.Cores
            from variant in Variant.All
            select (pattern, cores, variant);
        arguments.Write([
            "pattern,channels,variant,connections,imbalance,p50_us,p99_us,max_us,served,stolen,migrations,"
            + "worst_of_hung_us",
            .. Parallel(runs).Select(run => Row(
                $"{run.pattern},{run.cores},{run.variant.Name}",
                new Simulation(run.pattern, run.cores, run.variant, BalancingSettings.Default, arguments.Seed).Run())),
        ]);
        return 0;
    }

    /// <summary>Connections that live on: where they stay, and where they move.</summary>
    public static int RunLongLived(Arguments arguments)
    {
        var runs =
            from pattern in Enum.GetValues<LongPattern>()
            from cores in arguments.Cores
            from moves in s_staysAndMoves
            select (pattern, cores, moves);
        arguments.Write([
            "pattern,channels,variant,requests,imbalance,p50_us,p99_us,max_us,served,stolen,moved,worst_of_hung_us",
            .. Parallel(runs).Select(run => Row(
                $"{run.pattern},{run.cores},{(run.moves ? "Moving" : "Staying")}",
                new LongLived(run.pattern, run.cores, run.moves, arguments.Seed).Run())),
        ]);
        return 0;
    }

    /// <summary>All but one of the constants as they are.</summary>
    public static int Sweep(Arguments arguments)
    {
        var runs =
            from constant in s_constants
            from value in constant.Values
            from pattern in Enum.GetValues<Pattern>()
            from cores in arguments.Cores
            from seed in Enumerable.Range(arguments.Seed, SweepSeeds)
            select (constant, value, pattern, cores, seed);
        arguments.Write([
            "constant,value,seed,pattern,channels,variant,connections,imbalance,p50_us,p99_us,max_us,served,stolen,"
            + "migrations,worst_of_hung_us",
            .. Parallel(runs).Select(run => Row(
                $"{run.constant.Name},{run.value},{run.seed},{run.pattern},{run.cores},{Variant.All[^1].Name}",
                new Simulation(
                    run.pattern, run.cores, Variant.All[^1],
                    run.constant.With(BalancingSettings.Default, run.value), run.seed).Run())),
        ]);
        return 0;
    }

    private static ParallelQuery<T> Parallel<T>(IEnumerable<T> runs) =>
        runs.AsParallel().AsOrdered().WithDegreeOfParallelism(Environment.ProcessorCount);

    private static string Row(FormattableString head, Outcome outcome) =>
        FormattableString.Invariant(head) + FormattableString.Invariant(
            $",{outcome.Connections},{outcome.Imbalance:F3},{outcome.P50Us:F0},{outcome.P99Us:F0},{outcome.MaxUs:F0},")
        + FormattableString.Invariant(
            $"{outcome.ServedShare:F4},{outcome.Stolen},{outcome.Migrations},{outcome.WorstOfHungUs:F0}");
}
