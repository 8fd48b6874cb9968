// The channels of one host: made at the first bind, shared by all endpoints, stopped with the last listener.
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Native;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Channels;

internal sealed class ChannelSet
{
    private readonly Task[] _ends;

    private ChannelSet(TransportChannel[] channels, Task[] ends)
    {
        Channels = channels;
        _ends = ends;
    }

    public IReadOnlyList<TransportChannel> Channels { get; }

    public static ChannelSet Start(MegaPipeTransportOptions options, ILogger logger, BlockingTable blocking)
    {
        int count = CpuList.ChannelsOf(options);
        ChannelScheduling scheduling = new(options, count);
        int[] cpus = options.CpuSet is null ? [] : CpuList.Parse(options.CpuSet);
        List<TransportChannel> channels = [];
        Carrier[] carriers;
        try
        {
            for (int i = 0; i < count; i++)
            {
                int cpu = cpus.Length > 0 ? cpus[i % cpus.Length] : -1;
                Channel native = Channel.Create(new ChannelConfig
                {
                    MaxHandles = (uint)options.MaxHandlesPerChannel,
                    BufferCount = (uint)options.ReceiveBufferCount,
                    BufferBytes = (uint)options.ReceiveBufferSize,
                    BatchThreshold = (uint)options.BatchThreshold,
                    Cpu = options.Steering == MegaPipeSteering.Cpu ? cpu : -1,
                    Flags = options.DegradedMode,
                });
                channels.Add(new TransportChannel(i, native, scheduling, options, cpu) { Blocking = blocking });
            }

            carriers = TakeCarriers(count, scheduling.Adaptive);
        }
        catch
        {
            channels.ForEach(channel => channel.Close());
            throw;
        }

        CarrierWarnings warnings = new(logger, scheduling.MaxCarriers);
        Task[] ends = new Task[count];
        for (int i = 0; i < count; i++)
        {
            if (scheduling.Adaptive)
            {
                CarrierWatcher.Instance.Add(channels[i], warnings);
            }

            ends[i] = CarrierPool.Instance.Start(channels[i], carriers[i]);
        }

        return new ChannelSet([.. channels], ends);
    }

    /// <summary>All threads that the channels need at first, or none.</summary>
    /// <exception cref="PlatformNotSupportedException">There are not as many to be had.</exception>
    private static Carrier[] TakeCarriers(int count, bool watched)
    {
        if (!watched || CarrierWatcher.Instance.TryStart())
        {
            if (CarrierPool.Instance.TryTake(count) is { } carriers)
            {
                return carriers;
            }
        }

        throw new PlatformNotSupportedException(
            $"No thread could be started for a channel ({ThreadLimits.Describe()}).");
    }

    /// <summary>Channels end when their last connection is gone; the task ends with the last channel.</summary>
    public async Task StopAsync()
    {
        foreach (TransportChannel channel in Channels)
        {
            channel.Stop();
        }

        await Task.WhenAll(_ends).ConfigureAwait(false);
        foreach (TransportChannel channel in Channels)
        {
            CarrierWatcher.Instance.Remove(channel);
        }
    }
}
