// One SocketsHttpHandler over channels, for those who make theirs themselves.
using MegaPipe.Kestrel;

namespace System.Net.Http;

/// <summary>Has a handler's connections live on MegaPipe channels.</summary>
public static class SocketsHttpHandlerMegaPipeExtensions
{
    /// <summary>
    /// Has <paramref name="handler"/> connect through the process's own factory, with default options. In a host prefer
    /// <c>AddHttpClient().UseMegaPipe()</c>, which shares the channels of the host's endpoints and keeps a request and
    /// its answer on one channel.
    /// </summary>
    /// <exception cref="ArgumentException">The handler already has a <c>ConnectCallback</c>.</exception>
    public static SocketsHttpHandler UseMegaPipe(this SocketsHttpHandler handler) =>
        handler.UseMegaPipe(MegaPipeConnectionFactory.Shared);

    /// <summary>
    /// Has <paramref name="handler"/> connect through <paramref name="connections"/>. It has one pool for all channels,
    /// so a request may go out on another channel than its caller's; <see cref="MegaPipeHttpMessageHandler"/> has one
    /// for each.
    /// </summary>
    /// <inheritdoc cref="UseMegaPipe(SocketsHttpHandler)"/>
    public static SocketsHttpHandler UseMegaPipe(
        this SocketsHttpHandler handler, MegaPipeConnectionFactory connections)
    {
        ArgumentNullException.ThrowIfNull(handler);
        ArgumentNullException.ThrowIfNull(connections);
        if (handler.ConnectCallback is not null)
        {
            throw new ArgumentException("The handler already has a ConnectCallback.", nameof(handler));
        }

        handler.ConnectCallback = (context, cancellationToken) =>
            connections.ConnectStreamAsync(context.DnsEndPoint, cancellationToken);
        return handler;
    }
}
