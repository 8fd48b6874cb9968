// Connections over sockets that somebody else has connected: the counterpart of SocketConnectionContextFactory.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Listening;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel;

/// <summary>
/// Makes connections of connected sockets, as <see cref="SocketConnectionContextFactory"/> does: for clients, and for
/// servers that accept by themselves. It has channels of its own, so make one and keep it.
/// </summary>
public sealed class MegaPipeConnectionContextFactory : IDisposable
{
    private readonly MegaPipeChannels _owned;
    private readonly SharedChannels? _channels;
    private readonly EndpointContext? _context;
    private readonly SocketConnectionContextFactory? _fallback;
    private uint _next;
    private int _disposed;

    /// <summary>Starts the channels, or decides for the stock transport.</summary>
    /// <param name="options">Those of listeners have no effect here.</param>
    /// <param name="logger">What connections log goes here.</param>
    /// <param name="memoryPoolFactory">Makes the pool of pinned blocks; null: the transport's own.</param>
    /// <exception cref="OptionsValidationException">A value is out of range.</exception>
    /// <exception cref="PlatformNotSupportedException">
    /// io_uring cannot be used and <see cref="MegaPipeTransportOptions.Fallback"/> is Fail.
    /// </exception>
    public MegaPipeConnectionContextFactory(
        MegaPipeTransportOptions options, ILogger logger, IMemoryPoolFactory<byte>? memoryPoolFactory = null)
    {
        ArgumentNullException.ThrowIfNull(logger);
        _owned = new MegaPipeChannels(OptionLimits.Checked(options), logger, memoryPoolFactory, null);
        _channels = _owned.Hold(out string? reason);
        if (_channels is not null)
        {
            IPEndPoint any = new(IPAddress.Any, 0);
            _context = new EndpointContext(any, options, logger, _channels.Pool, _channels.Meter.For(any));
            return;
        }

        FallbackReason = reason;
        _fallback = StockTransport.CreateContextFactory(options, logger, memoryPoolFactory, reason!);
    }

    /// <summary>The failed check and the remedy where stock connections are made instead; otherwise null.</summary>
    public string? FallbackReason { get; }

    /// <summary>
    /// A connection over a connected stream socket, which it owns from now on. Reading begins at once.
    /// </summary>
    /// <param name="socket">A connected TCP or Unix-domain socket.</param>
    /// <exception cref="ObjectDisposedException">This factory is disposed.</exception>
    public ConnectionContext Create(Socket socket)
    {
        ArgumentNullException.ThrowIfNull(socket);
        ObjectDisposedException.ThrowIf(_disposed != 0, this);
        if (_channels is null)
        {
            return _fallback!.Create(socket);
        }

        IReadOnlyList<TransportChannel> channels = _channels.Set.Channels;
        return new MegaPipeConnection(
            channels[(int)(Interlocked.Increment(ref _next) % (uint)channels.Count)], _context!, socket);
    }

    /// <summary>The channels end when their connections have.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            if (_channels is not null)
            {
                _owned.Release();
            }

            _fallback?.Dispose();
        }
    }
}
