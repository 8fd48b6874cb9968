// A host's channels with what belongs to them: the pool of their connections' memory and their place in the meter.
using System.Buffers;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Pipes;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Listening;

internal sealed class SharedChannels
{
    private SharedChannels(ChannelSet set, MemoryPool<byte> pool)
    {
        Set = set;
        Pool = pool;
        Meter = new HostMeter(set.Channels);
    }

    public ChannelSet Set { get; }

    /// <summary>What the meter reads of this host.</summary>
    public HostMeter Meter { get; }

    public MemoryPool<byte> Pool { get; }

    /// <param name="options">The host's.</param>
    /// <param name="logger">Where connections and channels log.</param>
    /// <param name="pools">Makes the pool of their memory; null: the transport's own.</param>
    /// <param name="blocking">Told who keeps carriers; null: nobody asks.</param>
    /// <exception cref="PlatformNotSupportedException">io_uring cannot be used.</exception>
    /// <exception cref="System.Net.Sockets.SocketException">A channel of this size cannot be had.</exception>
    public static SharedChannels Start(
        MegaPipeTransportOptions options, ILogger logger, IMemoryPoolFactory<byte>? pools,
        BlockingTable? blocking = null)
    {
        blocking ??= new BlockingTable(logger, options.HandOverAfter);
        blocking.Enabled = options.ReportBlocking;
        SharedChannels channels = new(
            ChannelSet.Start(options, logger, blocking), new TransportMemoryPools(pools).Create());
        MegaPipeMetrics.Carriers = CarrierPool.Count;
        MegaPipeMetrics.Add(channels.Meter);
        return channels;
    }

    /// <summary>They end, and the pool with them, as soon as their connections have.</summary>
    public void Stop()
    {
        MegaPipeMetrics.Remove(Meter);
        _ = StopAsync();
    }

    private async Task StopAsync()
    {
        await Set.StopAsync().ConfigureAwait(false);
        Pool.Dispose();
    }
}
