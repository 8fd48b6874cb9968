// A host's channels with what belongs to them: the pool of their connections' memory and their place in the meter.
using System.Buffers;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Pipes;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Listening;

internal sealed class SharedChannels
{
    private readonly ILogger _logger;

    private SharedChannels(ChannelSet set, MemoryPool<byte> pool, Balancer? balancer, ILogger logger)
    {
        _logger = logger;
        Set = set;
        Pool = pool;
        Balancer = balancer;
        Report = () => ChannelReport.Describe(set);
        Meter = new HostMeter(set.Channels);
    }

    public ChannelSet Set { get; }

    /// <summary>What the meter reads of this host.</summary>
    public HostMeter Meter { get; }

    /// <summary>Who keeps its carriers.</summary>
    public required BlockingTable Blocking { get; init; }

    /// <summary>Evens out what the channels do, where that was asked for.</summary>
    public Balancer? Balancer { get; }

    /// <summary>Reads the channels' counters.</summary>
    public Func<IReadOnlyList<MegaPipeChannelStatus>> Report { get; }

    public MemoryPool<byte> Pool { get; }

    /// <summary>Binds a channel's carriers to other CPUs; null: to all of the process.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such channel.</exception>
    /// <exception cref="ArgumentException">No CPU list, or one with a CPU that the process may not use.</exception>
    public void Move(int channel, string? cpus)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(channel);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(channel, Set.Channels.Count);
        int[]? parsed = [];
        CpusAttribute limits = new();
        if (cpus is not null && (!CpuList.TryParse(cpus, out parsed) || !limits.Allows(cpus)))
        {
            throw new ArgumentException($"{cpus} is not {limits.Allowed}.", nameof(cpus));
        }

        Set.Move(channel, parsed);
        TransportLog.ChannelMoved(_logger, channel, cpus is null ? "all" : CpuList.Format(parsed));
    }

    /// <param name="options">The host's.</param>
    /// <param name="logger">Where connections and channels log.</param>
    /// <param name="pools">Makes the pool of their memory; null: the transport's own.</param>
    /// <param name="blocking">Told who keeps carriers; null: a table of its own.</param>
    /// <exception cref="PlatformNotSupportedException">io_uring cannot be used.</exception>
    /// <exception cref="System.Net.Sockets.SocketException">A channel of this size cannot be had.</exception>
    public static SharedChannels Start(
        MegaPipeTransportOptions options, ILogger logger, IMemoryPoolFactory<byte>? pools,
        BlockingTable? blocking = null)
    {
        blocking ??= new BlockingTable(logger, options.HandOverAfter);
        blocking.Enabled = options.ReportBlocking;
        ChannelSet set = ChannelSet.Start(options, logger, blocking);
        Balancer? balancer = set.Channels[0].Scheduling.Balanced
            ? new Balancer(set.Channels, set.Flows, set.Flows.ChannelOfGroup.Length, options, logger)
            : null;
        SharedChannels channels = new(set, new TransportMemoryPools(pools).Create(), balancer, logger)
        {
            Blocking = blocking,
        };
        if (balancer is not null)
        {
            CarrierWatcher.Instance.Add(balancer);
        }

        MegaPipeMetrics.Carriers = CarrierPool.Count;
        MegaPipeMetrics.Add(channels.Meter);
        return channels;
    }

    /// <summary>They end, and the pool with them, as soon as their connections have.</summary>
    public void Stop()
    {
        MegaPipeMetrics.Remove(Meter);
        if (Balancer is not null)
        {
            CarrierWatcher.Instance.Remove(Balancer);
        }

        _ = StopAsync();
    }

    private async Task StopAsync()
    {
        await Set.StopAsync().ConfigureAwait(false);
        Pool.Dispose();
    }
}
