// Seeded arrivals: connections with a hash, a CPU that receives them, and what they cost.
namespace MegaPipe.Balance;

internal enum Pattern
{
    /// <summary>Poisson arrivals, exponential costs.</summary>
    Uniform,

    /// <summary>As uniform, but what hashes to channel 0 at first costs 20 times as much.</summary>
    Skewed,

    /// <summary>As skewed, but after two seconds it is what hashed to channel 1 at first.</summary>
    Shifting,

    /// <summary>As uniform, but all arrivals of 20 ms come in the first 8.</summary>
    Bursty,

    /// <summary>Poisson arrivals, bounded Pareto costs: a few connections cost most of the time.</summary>
    HeavyTailed,

    /// <summary>As uniform, but channel 0 is stuck for two seconds.</summary>
    Hung,
}

internal readonly record struct Arrival(double At, uint Hash, int Cpu, double Cost);

/// <param name="pattern">What comes.</param>
/// <param name="channels">How many serve it.</param>
/// <param name="first">The channel that a hash belongs to at first.</param>
/// <param name="seed">The same seed, the same arrivals.</param>
internal sealed class Workload(Pattern pattern, int channels, Func<uint, int> first, int seed)
{
    /// <summary>Cost of a connection, in microseconds: a short request with what belongs to it.</summary>
    private const double MeanCostUs = 100;

    private const double HeavyFactor = 20;
    private const double ShiftAtUs = 2_000_000;
    private const double BurstUs = 20_000;
    private const double BurstShare = 0.4;
    private const double ParetoShape = 1.2;
    private const double ParetoMost = 100_000;

    /// <summary>
    /// Queues of a network card, each with its own CPU: where there are fewer than channels, steering by CPU leaves
    /// channels without work.
    /// </summary>
    private const int CardQueues = 16;

    /// <summary>The part of all channels' time that is asked for.</summary>
    private readonly double _load = pattern is Pattern.Hung ? 0.5 : 0.65;

    private readonly Random _random = new(seed);

    /// <summary>Without end, in order of time.</summary>
    public IEnumerable<Arrival> Arrivals()
    {
        double light = pattern is Pattern.Skewed or Pattern.Shifting
            ? MeanCostUs / ((HeavyFactor + channels - 1) / channels)
            : MeanCostUs;
        double gap = MeanCostUs / (channels * _load);
        int queues = Math.Min(channels, CardQueues);
        double at = 0;
        while (true)
        {
            at += Exponential(gap);
            uint hash = (uint)_random.NextInt64(1L << 32);
            double cost = pattern switch
            {
                Pattern.HeavyTailed => Pareto(),
                Pattern.Skewed when first(hash) == 0 => Exponential(light * HeavyFactor),
                Pattern.Shifting when first(hash) == (at < ShiftAtUs ? 0 : 1) => Exponential(light * HeavyFactor),
                _ => Exponential(light),
            };
            yield return new Arrival(
                pattern == Pattern.Bursty ? Squeeze(at) : at, hash,
                (int)(_random.Next(queues) * (long)channels / queues), cost);
        }
    }

    /// <summary>Keeps the order: the first part of each period gets all that comes in it.</summary>
    private static double Squeeze(double at)
    {
        double start = Math.Floor(at / BurstUs) * BurstUs;
        return start + ((at - start) * BurstShare);
    }

    private double Exponential(double mean) => -mean * Math.Log(1 - _random.NextDouble());

    private double Pareto()
    {
        // The mean of a bounded Pareto is a multiple of its least value, which is found from it.
        const double a = ParetoShape;
        double least = s_paretoLeast;
        double u = _random.NextDouble();
        double tail = Math.Pow(least / ParetoMost, a);
        return least / Math.Pow(1 - (u * (1 - tail)), 1 / a);
    }

    private static readonly double s_paretoLeast = FindLeast();

    private static double FindLeast()
    {
        double low = 1, high = MeanCostUs;
        for (int i = 0; i < 60; i++)
        {
            double least = (low + high) / 2;
            const double a = ParetoShape;
            double mean = Math.Pow(least, a) / (1 - Math.Pow(least / ParetoMost, a)) * (a / (a - 1)) *
                (Math.Pow(least, 1 - a) - Math.Pow(ParetoMost, 1 - a));
            (low, high) = mean < MeanCostUs ? (least, high) : (low, least);
        }

        return low;
    }
}
