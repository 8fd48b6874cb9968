// HttpClient over channels: the caller's channel has a connection pool of its own.
using MegaPipe.Kestrel.Internal.Connecting;

namespace MegaPipe.Kestrel;

/// <summary>
/// Sends HTTP requests over connections on channels. Each channel has a <see cref="SocketsHttpHandler"/>, and so a
/// pool, of its own; a request takes the pool of the channel that its code runs on, so its response arrives where it
/// goes on. HTTP/1.1, HTTP/2, TLS, proxies and pooling are those of <see cref="SocketsHttpHandler"/>.
/// </summary>
/// <remarks>
/// <para>Code that runs on no channel takes the pool of its processor's number.</para>
/// <para>What it costs: a backend gets up to as many HTTP/2 connections as there are channels instead of one, and of
/// HTTP/1.1 connections as many as each channel needed at its busiest, together. A limit
/// (<see cref="SocketsHttpHandler.MaxConnectionsPerServer"/>) is that of all pools together: each gets its share, and
/// where it is below the number of channels, some share a pool.</para>
/// </remarks>
public sealed class MegaPipeHttpMessageHandler : HttpMessageHandler
{
    private readonly MegaPipeConnectionFactory _connections;
    private readonly SocketsHttpHandler _template;
    private readonly Lazy<Pool[]> _pools;
    private volatile bool _disposed;

    /// <summary>Creates the handler; channels start with the first request.</summary>
    /// <param name="connections">Makes the connections; stays the caller's.</param>
    /// <param name="template">
    /// Its settings are those of every pool. It is this handler's from now on, and must not have been used or have a
    /// <see cref="SocketsHttpHandler.ConnectCallback"/>. null: the defaults.
    /// </param>
    /// <exception cref="ArgumentException">The template connects by itself.</exception>
    public MegaPipeHttpMessageHandler(MegaPipeConnectionFactory connections, SocketsHttpHandler? template = null)
    {
        ArgumentNullException.ThrowIfNull(connections);
        _connections = connections;
        _template = template ?? new SocketsHttpHandler();
        if (_template.ConnectCallback is not null)
        {
            throw new ArgumentException("The handler already has a ConnectCallback.", nameof(template));
        }

        _pools = new Lazy<Pool[]>(CreatePools);
    }

    /// <inheritdoc/>
    protected override Task<HttpResponseMessage> SendAsync(
        HttpRequestMessage request, CancellationToken cancellationToken) =>
        Pick().SendHereAsync(request, cancellationToken);

    /// <inheritdoc/>
    protected override HttpResponseMessage Send(HttpRequestMessage request, CancellationToken cancellationToken) =>
        Pick().SendHere(request, cancellationToken);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing && !_disposed)
        {
            _disposed = true;
            if (_pools.IsValueCreated)
            {
                foreach (Pool pool in _pools.Value)
                {
                    pool.Dispose();
                }
            }

            _template.Dispose();
        }

        base.Dispose(disposing);
    }

    private Pool Pick()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Pool[] pools = _pools.Value;
        if (pools.Length == 1)
        {
            return pools[0];
        }

        int channel = _connections.CurrentChannel;
        return pools[(channel >= 0 ? channel : Thread.GetCurrentProcessorId()) % pools.Length];
    }

    private Pool[] CreatePools()
    {
        int channels = _connections.ChannelCount;
        int limit = _template.MaxConnectionsPerServer;
        if (channels == 0)
        {
            return [new Pool(_template)]; // as stock as can be: it connects by itself
        }

        Pool[] pools = new Pool[Math.Min(channels, limit)];
        for (int i = 0; i < pools.Length; i++)
        {
            int channel = i;
            SocketsHttpHandler handler = i == 0 ? _template : HttpHandlerCopy.Of(_template);
            if (limit != int.MaxValue)
            {
                handler.MaxConnectionsPerServer = (limit / pools.Length) + (i < limit % pools.Length ? 1 : 0);
            }

            handler.ConnectCallback = (context, cancellationToken) =>
                _connections.ConnectStreamAsync(context.DnsEndPoint, channel, cancellationToken);
            pools[i] = new Pool(handler);
        }

        return pools;
    }

    /// <summary>One channel's; a message handler can be called by its like only.</summary>
    private sealed class Pool(SocketsHttpHandler handler) : DelegatingHandler(handler)
    {
        public Task<HttpResponseMessage> SendHereAsync(
            HttpRequestMessage request, CancellationToken cancellationToken) =>
            SendAsync(request, cancellationToken);

        public HttpResponseMessage SendHere(HttpRequestMessage request, CancellationToken cancellationToken) =>
            Send(request, cancellationToken);
    }
}
