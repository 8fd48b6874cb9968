// The channels of one host: made at the first bind, shared by all endpoints, stopped with the last listener.
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Steering;
using MegaPipe.Native;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Channels;

internal sealed class ChannelSet
{
    private readonly Task[] _ends;

    private ChannelSet(TransportChannel[] channels, Task[] ends, MegaPipeTransportOptions options)
    {
        Channels = channels;
        _ends = ends;
        Flows = new FlowTable(channels.Length, Cpus(), options.SteeringRefused, options.SteeredByAddress);
    }

    /// <summary>Which channel serves which new connections, of all endpoints.</summary>
    public FlowTable Flows { get; }

    public IReadOnlyList<TransportChannel> Channels { get; }

    public static ChannelSet Start(MegaPipeTransportOptions options, ILogger logger, BlockingTable blocking)
    {
        int count = CpuList.ChannelsOf(options);
        ChannelScheduling scheduling = new(options, count);
        Waiting waiting = Waiting.Resolve(options.Profile);
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
                    BusyPollUs = (uint)Math.Ceiling(options.BusyPoll.TotalMicroseconds),
                    Cpu = options.Steering == MegaPipeSteering.Cpu ? cpu : -1,
                    Flags = options.DegradedMode | ChannelConfigFlags.Sockets |
                        (options.ZeroCopyThreshold > 0 ? ChannelConfigFlags.ZeroCopy : ChannelConfigFlags.None),
                });
                channels.Add(new TransportChannel(i, native, scheduling, options, cpu) { Blocking = blocking });
                native.SetWait(waiting.Spin, waiting.MostSpinners);
            }

            carriers = TakeCarriers(count, IsWatched(scheduling));
        }
        catch
        {
            channels.ForEach(channel => channel.Close());
            throw;
        }

        if (options.Profile != MegaPipeProfile.Balanced)
        {
            TransportLog.Profile(logger, options.Profile, waiting.Describe());
        }

        if (options.BusyPoll > TimeSpan.Zero && MegaPipeFeatures.ReasonOf(Feature.BusyPoll) is { } reason)
        {
            TransportLog.BusyPollRefused(logger, reason);
        }

        CarrierWarnings warnings = new(logger, scheduling.MaxCarriers);
        Task[] ends = new Task[count];
        for (int i = 0; i < count; i++)
        {
            if (IsWatched(scheduling))
            {
                CarrierWatcher.Instance.Add(channels[i], warnings);
            }

            ends[i] = CarrierPool.Instance.Start(channels[i], carriers[i]);
        }

        return new ChannelSet([.. channels], ends, options);
    }

    /// <summary>Moves a channel to other CPUs, and the connections that these receive to it. Any thread.</summary>
    public void Move(int channel, int[] cpus)
    {
        Channels[channel].MoveTo(cpus);
        Flows.ApplyCpus(Cpus());
    }

    /// <summary>
    /// The CPUs that each channel stands for: those that it is bound to. Where none is bound, all of the process, in
    /// turn.
    /// </summary>
    private int[][] Cpus()
    {
        if (Channels.Any(channel => channel.Cpus.Length > 0))
        {
            return [.. Channels.Select(channel => channel.Cpus)];
        }

        int[] all = [.. CpuAffinity.Allowed];
        return [.. Channels.Select((_, index) => all.Where((_, at) => at % Channels.Count == index).ToArray())];
    }

    /// <summary>For hand-overs, and because a balancer looks when the watcher does.</summary>
    private static bool IsWatched(ChannelScheduling scheduling) => scheduling.HandsOver || scheduling.Balanced;

    /// <summary>All threads that the channels need at first, or none.</summary>
    /// <exception cref="PlatformNotSupportedException">The system does not give as many.</exception>
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
