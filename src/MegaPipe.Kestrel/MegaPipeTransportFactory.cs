// What Kestrel asks for listeners: MegaPipe channels where io_uring can be used, the stock Sockets transport elsewhere.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Listening;
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
    private readonly MegaPipeChannels _channels;

    // Guards what follows: an endpoint may be bound while the last other one is being disposed.
    private readonly Lock _sync = new();
    private IConnectionListenerFactory? _fallback;
    private SharedChannels? _announced;
    private Takeover? _takeover;
    private int _listeners;

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
        _channels = services.GetService<MegaPipeChannels>() ??
            new MegaPipeChannels(_options, _logger, services.GetService<IMemoryPoolFactory<byte>>(), status,
                services.GetService<BlockingTable>());
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
        IConnectionListenerFactory? fallback = null;
        lock (_sync)
        {
            channels = _channels.Hold(out string? reason);
            if (channels is null)
            {
                fallback = _fallback ??= FallBack(reason!);
            }
            else
            {
                _status.Transport = "megapipe";
                _takeover ??= Takeover.Begin(_options, _services, _logger);
                _listeners++;
            }
        }

        if (channels is null)
        {
            return await fallback!.BindAsync(endpoint, CancellationToken.None).ConfigureAwait(false);
        }

        IConnectionListener listener = await BindHereAsync(endpoint, channels).ConfigureAwait(false);
        Announce(channels);
        return listener;
    }

    private async Task<IConnectionListener> BindHereAsync(EndPoint endpoint, SharedChannels channels)
    {
        ListenSocket socket;
        EndpointContext context;
        try
        {
            int partitions = channels.Set.Channels.Count;
            socket = _takeover?.Take(endpoint) is { } taken
                ? ListenSockets.Adopt(taken, _options, partitions)
                : ListenSockets.Listen(endpoint, _options, partitions);
            EndPoint local = socket.Socket.LocalEndPoint ?? endpoint;
            context = new EndpointContext(local, _options, _logger, channels.Pool, channels.Meter.For(local));
        }
        catch
        {
            OnListenerDisposed();
            throw;
        }

        // From here on the listener owns the socket, and says so itself when it is disposed.
        MegaPipeConnectionListener listener = await MegaPipeConnectionListener.BindAsync(
            socket, context, _options, channels.Set, OnListenerDisposed, channels.Balancer).ConfigureAwait(false);
        _takeover?.Add(listener);
        return listener;
    }

    private IConnectionListenerFactory FallBack(string reason)
    {
        StockTransport.ThrowIfNotAllowed(_options, reason);
        TransportLog.Fallback(_startLogger, reason);
        MegaPipeEventSource.Log.Fallback(reason);
        IConnectionListenerFactory stock = StockTransport.Create(_services, _options);
        _status.Transport = "sockets";
        _status.FallbackReason = reason;
        _status.Options = OptionsReport.Describe(_options, StockTransport.Options(_services));
        return stock;
    }

    /// <summary>Says once what serves: after the bind, which may have failed.</summary>
    private void Announce(SharedChannels channels)
    {
        lock (_sync)
        {
            if (ReferenceEquals(_announced, channels))
            {
                return;
            }

            _announced = channels;
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

    /// <summary>The last one ends what the next process takes over, and what it has of the channels.</summary>
    private void OnListenerDisposed()
    {
        Takeover? takeover = null;
        lock (_sync)
        {
            if (--_listeners == 0)
            {
                takeover = _takeover;
                _takeover = null;
            }
        }

        takeover?.Dispose();
        _channels.Release();
    }
}
