// What Kestrel asks for listeners: MegaPipe channels where io_uring can be used, the stock Sockets transport elsewhere.
using System.Buffers;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
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
    private readonly ILoggerFactory _loggers;
    private readonly ILogger _logger;
    private readonly MegaPipeStatus _status;
    private readonly TransportMemoryPools _pools;
    private readonly SemaphoreSlim _sync = new(1, 1);
    private SocketTransportFactory? _fallback;
    private ChannelSet? _channels;
    private MemoryPool<byte>? _pool;
    private int _listeners;

    /// <summary>Creates the factory.</summary>
    /// <param name="options">The options; validated here, so that a wrong value stops the host.</param>
    /// <param name="loggerFactory">Logs under the category <c>MegaPipe.Kestrel</c>.</param>
    /// <param name="status">Told what really serves.</param>
    /// <param name="memoryPoolFactory">Makes the pools of pinned blocks; null: the transport's own.</param>
    /// <exception cref="OptionsValidationException">A value is out of range.</exception>
    public MegaPipeTransportFactory(
        IOptions<MegaPipeTransportOptions> options, ILoggerFactory loggerFactory, MegaPipeStatus status,
        IMemoryPoolFactory<byte>? memoryPoolFactory = null)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(loggerFactory);
        ArgumentNullException.ThrowIfNull(status);
        _options = options.Value;
        _loggers = loggerFactory;
        _logger = new GuardedLogger(loggerFactory.CreateLogger(TransportLog.Category));
        _status = status;
        _pools = new TransportMemoryPools(memoryPoolFactory);
    }

    /// <summary>TCP, Unix-socket and handle endpoints.</summary>
    public bool CanBind(EndPoint endpoint) => endpoint is IPEndPoint or UnixDomainSocketEndPoint or FileHandleEndPoint;

    /// <summary>Binds an endpoint.</summary>
    /// <exception cref="AddressInUseException">Somebody else listens there.</exception>
    /// <exception cref="SocketException">The address cannot be bound.</exception>
    /// <exception cref="PlatformNotSupportedException">
    /// io_uring cannot be used and <see cref="MegaPipeTransportOptions.Fallback"/> is Fail.
    /// </exception>
    public async ValueTask<IConnectionListener> BindAsync(
        EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        await _sync.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (_fallback is null && _channels is null)
            {
                Begin();
            }

            return _fallback is not null
                ? await _fallback.BindAsync(endpoint, cancellationToken).ConfigureAwait(false)
                : await BindHereAsync(endpoint).ConfigureAwait(false);
        }
        finally
        {
            _sync.Release();
        }
    }

    private async Task<IConnectionListener> BindHereAsync(EndPoint endpoint)
    {
        Socket? socket = null;
        _listeners++;
        try
        {
            socket = ListenSockets.Listen(endpoint, _options);
            EndpointContext context = new(socket.LocalEndPoint ?? endpoint, _options, _logger, _pool!);
            return await MegaPipeConnectionListener.BindAsync(
                socket, context, _options, _channels!, OnListenerDisposed).ConfigureAwait(false);
        }
        catch
        {
            if (socket is null)
            {
                OnListenerDisposed(); // otherwise the listener, which owns the socket, says so itself
            }

            throw;
        }
    }

    /// <summary>Starts the channels, or decides for the stock transport.</summary>
    private void Begin()
    {
        string? reason = MegaPipeFeatures.Reason;
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
                _channels = ChannelSet.Start(_options, _logger);
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

        _pool = _pools.Create();
        _status.Transport = "megapipe";
        _status.SetChannels(ChannelReport.For(_channels!));
        MegaPipeMetrics.Add(_channels!);
        TransportLog.Started(_logger, OptionsReport.Line(_status.Options), OptionsReport.Line(_status.Features));
    }

    private void FallBack(string reason)
    {
        if (_options.Fallback == MegaPipeFallback.Fail)
        {
            throw new PlatformNotSupportedException(
                $"MegaPipe cannot be used here: {reason} (MegaPipe:Fallback is Fail; Sockets would serve instead.)");
        }

        TransportLog.Fallback(_logger, reason);
        _status.Transport = "sockets";
        _status.FallbackReason = reason;
        SocketTransportOptions sockets = new()
        {
            NoDelay = _options.NoDelay,
            Backlog = _options.Backlog,
            MaxReadBufferSize = _options.MaxReadBufferSize,
            MaxWriteBufferSize = _options.MaxWriteBufferSize,
        };
        if (_options.CreateBoundListenSocket is { } create)
        {
            sockets.CreateBoundListenSocket = create;
        }

        _fallback = new SocketTransportFactory(Options.Create(sockets), _loggers);
    }

    /// <summary>With the last listener the channels end, as soon as their connections have.</summary>
    private void OnListenerDisposed()
    {
        ChannelSet? last;
        MemoryPool<byte>? pool;
        lock (_pools)
        {
            if (--_listeners > 0)
            {
                return;
            }

            last = _channels;
            pool = _pool;
            _channels = null;
            _pool = null;
        }

        if (last is not null)
        {
            MegaPipeMetrics.Remove(last);
            _ = StopAsync(last, pool);
        }
    }

    private static async Task StopAsync(ChannelSet channels, MemoryPool<byte>? pool)
    {
        await channels.StopAsync().ConfigureAwait(false);
        pool?.Dispose();
    }
}
