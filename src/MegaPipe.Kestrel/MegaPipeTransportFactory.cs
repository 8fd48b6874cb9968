// What Kestrel asks for listeners: MegaPipe channels where io_uring can be used, the stock Sockets transport elsewhere.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel;

/// <summary>
/// Kestrel's transport on MegaPipe channels. Registered by <c>UseMegaPipe()</c>; the channels are shared by all
/// endpoints that one factory binds.
/// </summary>
public sealed class MegaPipeTransportFactory : IConnectionListenerFactory, IConnectionListenerFactorySelector
{
    private readonly MegaPipeTransportOptions _options;
    private readonly IServiceProvider _services;
    private readonly ILogger _logger;
    private readonly ILogger _startLogger;
    private readonly MegaPipeStatus _status;
    private readonly BlockingTable _blocking;

    // Guards what follows: an endpoint may be bound while the last other one is being disposed.
    private readonly Lock _sync = new();
    private IConnectionListenerFactory? _fallback;
    private SharedChannels? _channels;
    private int _listeners;
    private bool _announced;

    /// <summary>Creates the factory.</summary>
    /// <param name="options">The options; validated here, so that a wrong value stops the host.</param>
    /// <param name="loggerFactory">Logs under the categories <c>MegaPipe.Kestrel</c> and below.</param>
    /// <param name="status">Told what really serves.</param>
    /// <param name="services">
    /// The services that <c>AddMegaPipe</c> registered in: they make the memory pools, and the stock transport where it
    /// has to serve.
    /// </param>
    /// <exception cref="OptionsValidationException">A value is out of range.</exception>
    public MegaPipeTransportFactory(
        IOptions<MegaPipeTransportOptions> options, ILoggerFactory loggerFactory, MegaPipeStatus status,
        IServiceProvider services)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(loggerFactory);
        ArgumentNullException.ThrowIfNull(status);
        ArgumentNullException.ThrowIfNull(services);
        _options = options.Value;
        _services = services;
        _logger = new GuardedLogger(loggerFactory.CreateLogger(TransportLog.Category));
        _startLogger = loggerFactory.CreateLogger(TransportLog.StartCategory);
        _status = status;
        _blocking = services.GetService<BlockingTable>() ?? new BlockingTable(_logger, _options.HandOverAfter);
        status.SetBlocked(_blocking.Report);
    }

    /// <summary>
    /// TCP, Unix-socket and handle endpoints. Not what is derived from them: that means something to another transport.
    /// </summary>
    public bool CanBind(EndPoint endpoint)
    {
        Type? type = endpoint?.GetType();
        return type == typeof(IPEndPoint) || type == typeof(UnixDomainSocketEndPoint)
            || type == typeof(FileHandleEndPoint);
    }

    /// <summary>Binds an endpoint.</summary>
    /// <param name="endpoint">An endpoint that <see cref="CanBind"/> takes.</param>
    /// <param name="cancellationToken">
    /// Not looked at, as in the stock transport: binding takes milliseconds, and a host that is told to stop while it
    /// starts goes on to its start's end and stops then.
    /// </param>
    /// <exception cref="AddressInUseException">Somebody else listens there.</exception>
    /// <exception cref="SocketException">The address cannot be bound.</exception>
    /// <exception cref="PlatformNotSupportedException">
    /// io_uring cannot be used and <see cref="MegaPipeTransportOptions.Fallback"/> is Fail.
    /// </exception>
    public async ValueTask<IConnectionListener> BindAsync(
        EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        SharedChannels? channels;
        lock (_sync)
        {
            if (_fallback is null && _channels is null)
            {
                Begin();
            }

            channels = _channels;
            _listeners += channels is null ? 0 : 1;
        }

        if (channels is null)
        {
            return await _fallback!.BindAsync(endpoint, CancellationToken.None).ConfigureAwait(false);
        }

        IConnectionListener listener = await BindHereAsync(endpoint, channels).ConfigureAwait(false);
        Announce();
        return listener;
    }

    private async Task<IConnectionListener> BindHereAsync(EndPoint endpoint, SharedChannels channels)
    {
        ListenSocket socket;
        EndpointContext context;
        try
        {
            socket = ListenSockets.Listen(endpoint, _options, channels.Set.Channels.Count);
            EndPoint local = socket.Socket.LocalEndPoint ?? endpoint;
            context = new EndpointContext(local, _options, _logger, channels.Pool, channels.Meter.For(local));
        }
        catch
        {
            OnListenerDisposed();
            throw;
        }

        // From here on the listener owns the socket, and says so itself when it is disposed.
        return await MegaPipeConnectionListener.BindAsync(
            socket, context, _options, channels.Set, OnListenerDisposed).ConfigureAwait(false);
    }

    /// <summary>Starts the channels, or decides for the stock transport.</summary>
    private void Begin()
    {
        string? reason = _options.DeniedFor ?? MegaPipeFeatures.Reason;
        _status.Options = OptionsReport.Describe(_options);
        _status.Features =
        [
            .. MegaPipeFeatures.Features.Select(
                feature => new MegaPipeFeatureStatus(feature.Name, feature.Available, feature.Reason)),
        ];
        if (reason is null)
        {
            try
            {
                _channels = SharedChannels.Start(
                    _options, _logger, _services.GetService<IMemoryPoolFactory<byte>>(), _blocking);
            }
            catch (Exception error) when (error is PlatformNotSupportedException or SocketException)
            {
                reason = error.Message;
            }
        }

        if (reason is not null)
        {
            FallBack(reason);
            return;
        }

        _announced = false;
        _status.Transport = "megapipe";
        ChannelSet channels = _channels!.Set;
        _status.MaxCarriers = channels.Channels[0].Scheduling.MaxCarriers;
        _status.SetChannels(() => ChannelReport.Describe(channels));
    }

    private void FallBack(string reason)
    {
        StockTransport.ThrowIfNotAllowed(_options, reason);
        TransportLog.Fallback(_startLogger, reason);
        MegaPipeEventSource.Log.Fallback(reason);
        _fallback = StockTransport.Create(_services, _options);
        _status.Transport = "sockets";
        _status.FallbackReason = reason;
        _status.Options = OptionsReport.Describe(_options, StockTransport.Options(_services));
    }

    /// <summary>Says once what serves: after the bind, which may have failed.</summary>
    private void Announce()
    {
        lock (_sync)
        {
            if (_announced)
            {
                return;
            }

            _announced = true;
        }

        string options = OptionsReport.Changed(_status.Options);
        string features = OptionsReport.Line(_status.Features);
        MegaPipeEventSource.Log.Started(options, features);
        TransportLog.Started(_startLogger, options, features);
        if (_startLogger.IsEnabled(LogLevel.Debug))
        {
            TransportLog.ResolvedOptions(_startLogger, OptionsReport.Line(_status.Options));
        }
    }

    /// <summary>With the last listener the channels end, as soon as their connections have.</summary>
    private void OnListenerDisposed()
    {
        SharedChannels? last;
        lock (_sync)
        {
            if (--_listeners > 0)
            {
                return;
            }

            last = _channels;
            _channels = null;
        }

        last?.Stop();
    }
}
