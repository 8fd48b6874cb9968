// Outgoing connections on channels: what IConnectionFactory is, and the same as streams.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Internal.Connecting;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Listening;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel;

/// <summary>
/// Makes outgoing TCP and Unix-domain connections that live on channels: with the pipes, options, counters and rules of
/// accepted ones. One that is opened by code that runs on a channel lives on that channel; any other on the one with
/// the fewest connections. Where io_uring cannot be used it makes stock ones.
/// </summary>
/// <remarks>
/// Registered by <c>AddMegaPipeConnections()</c>. It shares the channels of the host's endpoints; without such it has
/// channels of its own, from the first connection on until it is disposed.
/// </remarks>
public sealed class MegaPipeConnectionFactory : IConnectionFactory, IDisposable
{
    private static readonly Lazy<MegaPipeConnectionFactory> s_shared = new(static () => new MegaPipeConnectionFactory(
        new MegaPipeTransportOptions(), Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance));

    private readonly MegaPipeChannels _channels;
    private readonly Lock _sync = new();
    private readonly Lazy<StockConnections> _stock;
    private SharedChannels? _held;
    private string? _fallbackReason;
    private OutgoingContext? _context;
    private uint _turn;
    private volatile bool _disposed;

    /// <summary>Creates a factory with channels of its own.</summary>
    /// <param name="options">Those of listeners have no effect here.</param>
    /// <param name="logger">What connections log goes here.</param>
    /// <param name="memoryPoolFactory">Makes the pool of pinned blocks; null: the transport's own.</param>
    /// <exception cref="OptionsValidationException">A value is out of range.</exception>
    public MegaPipeConnectionFactory(
        MegaPipeTransportOptions options, ILogger logger, IMemoryPoolFactory<byte>? memoryPoolFactory = null)
        : this(new MegaPipeChannels(
            OptionLimits.Checked(options), new GuardedLogger(logger), memoryPoolFactory, null), logger)
    {
    }

    internal MegaPipeConnectionFactory(MegaPipeChannels channels, ILoggerFactory loggers)
        : this(channels, loggers.CreateLogger(TransportLog.StartCategory))
    {
    }

    private MegaPipeConnectionFactory(MegaPipeChannels channels, ILogger logger)
    {
        _channels = channels;
        _stock = new Lazy<StockConnections>(() =>
        {
            TransportLog.Fallback(logger, _fallbackReason!);
            return new StockConnections(channels.Options, channels.Logger, channels.Pools, _fallbackReason!);
        });
    }

    /// <summary>One for the process, with default options and no log. Its channels start with its first use.</summary>
    internal static MegaPipeConnectionFactory Shared => s_shared.Value;

    /// <summary>
    /// Time after which a connect that has not ended fails with <see cref="SocketError.TimedOut"/>, all addresses of a
    /// name together. Default: no limit but the system's, which is about two minutes.
    /// </summary>
    public TimeSpan ConnectTimeout { get; set; } = Timeout.InfiniteTimeSpan;

    /// <summary>
    /// The failed check and the remedy where stock connections are made instead; otherwise null. Starts the channels.
    /// </summary>
    public string? FallbackReason => TryHold() is null ? _fallbackReason : null;

    /// <summary>Resolves a name; tests have their own.</summary>
    internal Func<string, AddressFamily, CancellationToken, Task<IPAddress[]>> Resolve { get; set; } =
        Dns.GetHostAddressesAsync;

    /// <summary>Which source ports are taken, instead of what the options say; for tests.</summary>
    internal SourcePorts? Ports { get; init; }

    /// <summary>The number of channels; 0 where stock connections are made.</summary>
    internal int ChannelCount => TryHold()?.Set.Channels.Count ?? 0;

    /// <summary>The channel of the calling code; -1 when it runs on none of this factory's.</summary>
    internal int CurrentChannel =>
        Carried.Current is TransportChannel current && Volatile.Read(ref _held) is { } held &&
        current.Index < held.Set.Channels.Count && ReferenceEquals(held.Set.Channels[current.Index], current)
            ? current.Index
            : -1;

    /// <summary>Connects.</summary>
    /// <param name="endpoint">
    /// An <see cref="IPEndPoint"/>, a <see cref="UnixDomainSocketEndPoint"/>, or a <see cref="DnsEndPoint"/>, whose
    /// addresses are tried as RFC 8305 says (Happy Eyeballs).
    /// </param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    /// <returns>The connection, which is to be disposed.</returns>
    /// <exception cref="SocketException">There is no connection, for the reason that its code says.</exception>
    /// <exception cref="OperationCanceledException">The token was canceled.</exception>
    /// <exception cref="ObjectDisposedException">This factory is disposed.</exception>
    /// <exception cref="NotSupportedException">An endpoint of another kind.</exception>
    public async ValueTask<ConnectionContext> ConnectAsync(
        EndPoint endpoint, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        return TryHold() is null
            ? await _stock.Value.ConnectAsync(endpoint, ConnectTimeout, cancellationToken).ConfigureAwait(false)
            : await ConnectAsync(endpoint, -1, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// As <see cref="ConnectAsync(EndPoint, CancellationToken)"/>, for those who take a stream. Disposing it closes the
    /// connection, when what was written is sent.
    /// </summary>
    /// <inheritdoc cref="ConnectAsync(EndPoint, CancellationToken)"/>
    public ValueTask<Stream> ConnectStreamAsync(EndPoint endpoint, CancellationToken cancellationToken = default) =>
        ConnectStreamAsync(endpoint, -1, cancellationToken);

    /// <param name="endpoint">As above.</param>
    /// <param name="channel">Where the connection is to live; -1: as above.</param>
    /// <param name="cancellationToken">As above.</param>
    internal async ValueTask<Stream> ConnectStreamAsync(
        EndPoint endpoint, int channel, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(endpoint);
        if (TryHold() is null)
        {
            return await _stock.Value.ConnectStreamAsync(endpoint, ConnectTimeout, cancellationToken)
                .ConfigureAwait(false);
        }

        return new ConnectionStream(
            await ConnectAsync(endpoint, channel, cancellationToken).ConfigureAwait(false));
    }

    /// <summary>Aborts the connections that it has made and that are still open.</summary>
    public void Dispose()
    {
        SharedChannels? held;
        lock (_sync)
        {
            if (_disposed)
            {
                return;
            }

            _disposed = true;
            held = _held;
        }

        if (_stock.IsValueCreated)
        {
            _stock.Value.Dispose();
        }

        if (held is null)
        {
            return;
        }

        OutgoingContext context = _context!;
        context.Close();
        foreach (TransportChannel channel in held.Set.Channels)
        {
            channel.Post(one => one.ForEachOwner(context.End));
        }

        _channels.Release();
    }

    /// <summary>The channels, started where they are not; null where there are none to be had.</summary>
    private SharedChannels? TryHold()
    {
        if (Volatile.Read(ref _held) is { } held && !_disposed)
        {
            return held;
        }

        lock (_sync)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            if (_held is null && _fallbackReason is null)
            {
                held = _channels.Hold(out string? reason);
                if (held is null)
                {
                    _fallbackReason = _channels.Options.Fallback == MegaPipeFallback.Fail ? null : reason;
                    StockTransport.ThrowIfNotAllowed(_channels.Options, reason!);
                    return null;
                }

                _context = new OutgoingContext(_channels.Options, _channels.Logger, held.Pool, held.Meter)
                {
                    Ports = Ports ?? SourcePorts.For(_channels.Options, held.Set.Channels.Count),
                };
                Volatile.Write(ref _held, held);
            }

            return _held;
        }
    }

    private async ValueTask<MegaPipeConnection> ConnectAsync(
        EndPoint endpoint, int channel, CancellationToken cancellationToken)
    {
        if (ConnectTimeout == Timeout.InfiniteTimeSpan)
        {
            return await ConnectUntimedAsync(endpoint, channel, cancellationToken).ConfigureAwait(false);
        }

        using CancellationTokenSource timed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timed.CancelAfter(ConnectTimeout);
        try
        {
            return await ConnectUntimedAsync(endpoint, channel, timed.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            cancellationToken.ThrowIfCancellationRequested();
            throw new SocketException((int)SocketError.TimedOut, $"No answer in {ConnectTimeout} [{endpoint}]");
        }
    }

    private async ValueTask<MegaPipeConnection> ConnectUntimedAsync(
        EndPoint endpoint, int channel, CancellationToken cancellationToken)
    {
        TransportChannel first = _held!.Set.Channels[channel >= 0 ? channel : Pick()];
        if (endpoint is not DnsEndPoint name)
        {
            return endpoint is IPEndPoint or UnixDomainSocketEndPoint
                ? await ConnectToAsync(first, endpoint, cancellationToken).ConfigureAwait(false)
                : throw new NotSupportedException($"Endpoints of {endpoint.GetType()} cannot be connected to.");
        }

        IPAddress[] addresses = IPAddress.TryParse(name.Host, out IPAddress? literal)
            ? [literal]
            : await Resolve(name.Host, name.AddressFamily, cancellationToken).ConfigureAwait(false);
        return addresses.Length == 1
            ? await ConnectToAsync(first, new IPEndPoint(addresses[0], name.Port), cancellationToken)
                .ConfigureAwait(false)
            : await AddressRace.ConnectAsync(
                AddressRace.Order(addresses), name.Port, (target, token) => ConnectToAsync(first, target, token),
                cancellationToken).ConfigureAwait(false);
    }

    /// <summary>On one channel; on another where that one's table is full.</summary>
    private async ValueTask<MegaPipeConnection> ConnectToAsync(
        TransportChannel first, EndPoint target, CancellationToken cancellationToken)
    {
        IReadOnlyList<TransportChannel> all = _held!.Set.Channels;
        for (int i = 0; ; i++)
        {
            TransportChannel channel = all[(first.Index + i) % all.Count];
            try
            {
                return await ConnectFromAsync(channel, target, cancellationToken).ConfigureAwait(false);
            }
            catch (SocketException error) when (
                error.SocketErrorCode == SocketError.TooManyOpenSockets && i + 1 < all.Count)
            {
                // The next one may have room.
            }
        }
    }

    private async ValueTask<MegaPipeConnection> ConnectFromAsync(
        TransportChannel channel, EndPoint target, CancellationToken cancellationToken)
    {
        OutgoingContext context = _context!;
        for (int i = 0; context.Ports is { } ports && target is IPEndPoint && i < SourcePorts.Tries; i++)
        {
            int port = ports.Next(channel.Index);
            if (port == 0)
            {
                break;
            }

            try
            {
                return await ConnectAttempt.ConnectAsync(channel, context, target, port, cancellationToken)
                    .ConfigureAwait(false);
            }
            catch (SocketException error) when (error.SocketErrorCode == SocketError.AddressNotAvailable)
            {
                // Taken, for this target.
            }
        }

        return await ConnectAttempt.ConnectAsync(channel, context, target, 0, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The caller's channel; otherwise the one with the fewest connections, of several in turn.</summary>
    private int Pick()
    {
        int current = CurrentChannel;
        if (current >= 0)
        {
            return current;
        }

        IReadOnlyList<TransportChannel> channels = _held!.Set.Channels;
        int start = (int)(Interlocked.Increment(ref _turn) % (uint)channels.Count);
        int best = start;
        int fewest = int.MaxValue;
        for (int i = 0; i < channels.Count; i++)
        {
            TransportChannel channel = channels[(start + i) % channels.Count];
            int count = Volatile.Read(ref channel.ConnectionCount) + Volatile.Read(ref channel.ConnectingCount);
            if (count < fewest)
            {
                fewest = count;
                best = channel.Index;
            }
        }

        return best;
    }
}
