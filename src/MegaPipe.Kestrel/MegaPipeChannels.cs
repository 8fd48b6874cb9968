// A host's channels, for all who use them: its endpoints and its outgoing connections.
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel;

/// <summary>
/// The channels are made when the first one holds them, and end with the last one's release, as soon as their
/// connections have.
/// </summary>
internal sealed class MegaPipeChannels(
    MegaPipeTransportOptions options, ILogger logger, IMemoryPoolFactory<byte>? pools, MegaPipeStatus? status,
    BlockingTable? blocking = null)
{
    private readonly Lock _sync = new();
    private SharedChannels? _channels;
    private string? _reason;
    private int _holders;

    public MegaPipeTransportOptions Options => options;

    public ILogger Logger => logger;

    public IMemoryPoolFactory<byte>? Pools => pools;

    /// <summary>
    /// The channels, until <see cref="Release"/>; null and the reason where io_uring cannot be used.
    /// </summary>
    public SharedChannels? Hold(out string? reason)
    {
        lock (_sync)
        {
            reason = _channels is null ? _reason ?? Start() : null;
            if (options.Fallback != MegaPipeFallback.Fail)
            {
                _reason = reason; // somebody else serves from here on
            }

            _holders += _channels is null ? 0 : 1;
            return _channels;
        }
    }

    /// <summary>Once for each time that <see cref="Hold"/> gave channels.</summary>
    public void Release()
    {
        SharedChannels? last;
        lock (_sync)
        {
            if (--_holders > 0)
            {
                return;
            }

            last = _channels;
            _channels = null;
        }

        last?.Stop();
    }

    /// <summary>null, or why there are none.</summary>
    private string? Start()
    {
        string? reason = options.DeniedFor ?? MegaPipeFeatures.Reason;
        if (status is not null)
        {
            status.Options = OptionsReport.Describe(options);
            status.Features =
            [
                .. MegaPipeFeatures.Features.Select(
                    feature => new MegaPipeFeatureStatus(feature.Name, feature.Available, feature.Reason)),
            ];
        }

        if (reason is not null)
        {
            return reason;
        }

        try
        {
            _channels = SharedChannels.Start(options, logger, pools, blocking);
            if (status is not null)
            {
                status.MaxCarriers = _channels.Set.Channels[0].Scheduling.MaxCarriers;
                status.SetChannels(_channels.Report, _channels.Move);
                status.SetBlocked(_channels.Blocking.Report);
            }

            return null;
        }
        catch (Exception error) when (error is PlatformNotSupportedException or System.Net.Sockets.SocketException)
        {
            return error.Message;
        }
    }
}
