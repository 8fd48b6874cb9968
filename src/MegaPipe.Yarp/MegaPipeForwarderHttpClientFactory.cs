// YARP's clients over channels: a pool for each, as MegaPipeHttpMessageHandler has them.
using MegaPipe.Kestrel;
using Microsoft.Extensions.Logging;
using Yarp.ReverseProxy.Forwarder;

namespace MegaPipe.Yarp;

/// <summary>
/// Makes the client of each cluster as YARP's own factory does, from the cluster's configuration, over connections that
/// live on MegaPipe channels. Derive from it, as from <see cref="ForwarderHttpClientFactory"/>, to set up the handler.
/// </summary>
/// <param name="connections">Makes the connections.</param>
/// <param name="logger">Told of each client that is made.</param>
public class MegaPipeForwarderHttpClientFactory(
    MegaPipeConnectionFactory connections, ILogger<ForwarderHttpClientFactory> logger)
    : ForwarderHttpClientFactory(logger)
{
    /// <summary>Puts the handler that YARP has set up on channels.</summary>
    protected override HttpMessageHandler WrapHandler(ForwarderHttpClientContext context, HttpMessageHandler handler) =>
        base.WrapHandler(
            context,
            handler is SocketsHttpHandler { ConnectCallback: null } sockets
                ? new MegaPipeHttpMessageHandler(connections, sockets)
                : handler);
}
