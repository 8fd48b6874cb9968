// The one line that puts YARP's way to its destinations on channels.
using MegaPipe.Yarp;
using Yarp.ReverseProxy.Forwarder;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Puts YARP's connections to its destinations on MegaPipe channels.</summary>
public static class ReverseProxyBuilderMegaPipeExtensions
{
    /// <summary>
    /// Forwards requests, and probes destinations, over connections on channels: those of the host's endpoints where
    /// <c>UseMegaPipe</c> serves them, so a request and its answer stay on one channel. It replaces the client factory
    /// that is registered, also the one of <c>ConfigureHttpClient</c>: use <paramref name="configure"/> instead.
    /// </summary>
    /// <param name="builder">What <c>AddReverseProxy</c> returned.</param>
    /// <param name="configure">
    /// Sets up a cluster's handler after YARP has, with what <c>ConfigureHttpClient</c> gets; may be null.
    /// </param>
    public static IReverseProxyBuilder UseMegaPipeClient(
        this IReverseProxyBuilder builder, Action<ForwarderHttpClientContext, SocketsHttpHandler>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddMegaPipeConnections();
        builder.Services.AddSingleton<IForwarderHttpClientFactory>(services =>
            ActivatorUtilities.CreateInstance<ConfiguredFactory>(services, new Configuration(configure)));
        return builder;
    }

    /// <summary>A container gives no null.</summary>
    private sealed record Configuration(Action<ForwarderHttpClientContext, SocketsHttpHandler>? Configure);

    private sealed class ConfiguredFactory(
        Configuration configuration, MegaPipe.Kestrel.MegaPipeConnectionFactory connections,
        Logging.ILogger<ForwarderHttpClientFactory> logger)
        : MegaPipeForwarderHttpClientFactory(connections, logger)
    {
        protected override void ConfigureHandler(ForwarderHttpClientContext context, SocketsHttpHandler handler)
        {
            base.ConfigureHandler(context, handler);
            configuration.Configure?.Invoke(context, handler);
        }
    }
}
