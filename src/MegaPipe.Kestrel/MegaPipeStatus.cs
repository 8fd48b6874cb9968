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
    /// Endpoints of the application whose requests have kept a thread for too long, the worst first; empty when
    /// MegaPipe does not serve. At most 257 rows.
    /// </summary>
    public IReadOnlyList<MegaPipeBlockedEndpoint> GetBlocked() => _blocked?.Invoke() ?? [];

    /// <summary>Carriers up to which a stuck one is replaced; 0 before the first bind.</summary>
    internal int MaxCarriers { get; set; }

    /// <summary>Warning 104 or 105 holds at this moment.</summary>
    internal bool AreCarriersExhausted => MaxCarriers > 0 && _carriers.IsExhausted(MaxCarriers);

    internal void SetChannels(Func<IReadOnlyList<MegaPipeChannelStatus>> channels) => _channels = channels;

    internal void SetBlocked(Func<IReadOnlyList<MegaPipeBlockedEndpoint>> blocked) => _blocked = blocked;
}
