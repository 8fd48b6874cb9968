// The profile, resolved into how a channel waits for events here.
namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>How the channels of a host wait.</summary>
/// <param name="Spin">How long a carrier waits awake before it sleeps; zero: not at all.</param>
/// <param name="MostSpinners">Channels of the process that may do so at a time.</param>
/// <param name="Reason">Why the profile means less here than elsewhere, or null.</param>
internal sealed record Waiting(TimeSpan Spin, int MostSpinners, string? Reason)
{
    /// <summary>
    /// What a client over loopback or in the same rack needs for its next request. A sleep and a wake-up cost about
    /// half of it, so who spins in vain loses no more than three times what it wanted to save.
    /// </summary>
    private static readonly TimeSpan s_spin = TimeSpan.FromMicroseconds(100);

    /// <summary>What this process has; tests give others.</summary>
    public static Waiting Resolve(MegaPipeProfile profile) =>
        Resolve(profile, Environment.ProcessorCount, profile == MegaPipeProfile.Latency && CpuQuota.Exists());

    /// <summary>One CPU stays free of spinning, for whatever else the process has to do.</summary>
    public static Waiting Resolve(MegaPipeProfile profile, int cpus, bool quota) => profile switch
    {
        MegaPipeProfile.Latency when cpus < 2 => None("the process has one CPU"),
        MegaPipeProfile.Latency when quota => None("a cgroup limits the process's CPU time"),
        MegaPipeProfile.Latency => new Waiting(s_spin, cpus - 1, null),
        _ => None(null),
    };

    public string Describe() =>
        Spin > TimeSpan.Zero ? $"channels without work wait awake for up to {Spin.TotalMicroseconds:0} µs" :
        "channels without work sleep at once" + (Reason is null ? "" : $", because {Reason}");

    private static Waiting None(string? reason) => new(TimeSpan.Zero, 0, reason);
}
