// What the transport really does at this moment, for pages, logs and benchmarks.
using MegaPipe.Kestrel.Internal.Carrying;

namespace MegaPipe.Kestrel;

/// <summary>A mechanism that this kernel and process allow or refuse.</summary>
/// <param name="Name">Short name, such as <c>fd_install</c>; see docs/GLOSSARY.md.</param>
/// <param name="Available">Whether it was tried and works.</param>
/// <param name="Reason">Why not, or null.</param>
public sealed record MegaPipeFeatureStatus(string Name, bool Available, string? Reason);

/// <summary>Counters of one channel since it was created.</summary>
/// <param name="Index">Channel number, from 0.</param>
/// <param name="Counters">Counter name (see docs/GLOSSARY.md) and value.</param>
public sealed record MegaPipeChannelStatus(int Index, IReadOnlyDictionary<string, long> Counters);

/// <summary>
/// The transport that really serves this host. A singleton in the host's services after <c>UseMegaPipe</c>;
/// filled when the first endpoint is bound.
/// </summary>
public sealed class MegaPipeStatus
{
    private readonly CarrierPool _carriers = CarrierPool.Instance;
    private Func<IReadOnlyList<MegaPipeChannelStatus>>? _channels;
    private Action<int, string?>? _move;
    private Func<IReadOnlyList<MegaPipeBlockedEndpoint>>? _blocked;

    /// <summary>"megapipe", "sockets" after a fallback, or "none" before the first bind.</summary>
    public string Transport { get; internal set; } = "none";

    /// <summary>The failed check and the remedy where the stock transport serves instead; otherwise null.</summary>
    public string? FallbackReason { get; internal set; }

    /// <summary>Resolved options, name and value.</summary>
    public IReadOnlyDictionary<string, string> Options { get; internal set; } = new Dictionary<string, string>();

    /// <summary>What the kernel and this process allow.</summary>
    public IReadOnlyList<MegaPipeFeatureStatus> Features { get; internal set; } = [];

    /// <summary>Carrier threads of this process.</summary>
    public int CarriersLive => _carriers.LiveCount;

    /// <summary>Carriers that have no channel at this moment.</summary>
    public int CarriersSpare => _carriers.SpareCount;

    /// <summary>A snapshot of each channel's counters; empty when MegaPipe does not serve.</summary>
    public IReadOnlyList<MegaPipeChannelStatus> GetChannels() => _channels?.Invoke() ?? [];

    /// <summary>
    /// Binds the threads of a channel to other CPUs, from the channel's next turn on. With
    /// <see cref="MegaPipeSteering.Cpu"/> the connections that these CPUs receive go to it from now on.
    /// </summary>
    /// <param name="channel">Channel number, from 0.</param>
    /// <param name="cpus">A CPU list such as "0-3,8"; null: all CPUs of the process.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such channel.</exception>
    /// <exception cref="ArgumentException">No CPU list, or one with a CPU that the process may not use.</exception>
    /// <exception cref="InvalidOperationException">MegaPipe does not serve.</exception>
    public void SetChannelCpus(int channel, string? cpus) =>
        (_move ?? throw new InvalidOperationException("MegaPipe does not serve: there are no channels."))(
            channel, cpus);

    internal void SetChannels(
        Func<IReadOnlyList<MegaPipeChannelStatus>> channels, Action<int, string?>? move = null)
    {
        _channels = channels;
        _move = move;
    }

    /// <summary>
    /// Endpoints of the application whose requests have kept a thread for too long, the worst first; empty when
    /// MegaPipe does not serve. At most 257 rows.
    /// </summary>
    public IReadOnlyList<MegaPipeBlockedEndpoint> GetBlocked() => _blocked?.Invoke() ?? [];

    /// <summary>Carriers up to which a stuck one is replaced; 0 before the first bind.</summary>
    internal int MaxCarriers { get; set; }

    /// <summary>Warning 104 or 105 holds at this moment.</summary>
    internal bool AreCarriersExhausted => MaxCarriers > 0 && _carriers.IsExhausted(MaxCarriers);

    internal void SetBlocked(Func<IReadOnlyList<MegaPipeBlockedEndpoint>> blocked) => _blocked = blocked;
}
