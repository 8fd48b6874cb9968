// The channels of one host: made at the first bind, shared by all endpoints, stopped with the last listener.
using System.Globalization;
using MegaPipe.Native;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal;

internal sealed class ChannelSet
{
    private readonly Task[] _ends;

    private ChannelSet(TransportChannel[] channels, Task[] ends)
    {
        Channels = channels;
        _ends = ends;
    }

    public IReadOnlyList<TransportChannel> Channels { get; }

    public static ChannelSet Start(MegaPipeTransportOptions options, ILogger logger)
    {
        ChannelScheduling scheduling = new(options);
        int[] cpus = options.CpuSet is null ? [] : CpuList.Parse(options.CpuSet);
        int count = options.Channels ?? (cpus.Length > 0 ? cpus.Length : Environment.ProcessorCount);
        List<TransportChannel> channels = [];
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
                channels.Add(new TransportChannel(i, native, scheduling, options, cpu));
            }
        }
        catch
        {
            channels.ForEach(channel => channel.Close());
            throw;
        }

        Task[] ends = new Task[count];
        for (int i = 0; i < count; i++)
        {
            if (scheduling.Adaptive)
            {
                CarrierWatcher.Instance.Add(channels[i], channel => TransportLog.CarriersExhausted(
                    logger, channel.Index, scheduling.MaxCarriers.ToString(CultureInfo.InvariantCulture)));
            }

            ends[i] = CarrierPool.Instance.Start(channels[i]);
        }

        return new ChannelSet([.. channels], ends);
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
