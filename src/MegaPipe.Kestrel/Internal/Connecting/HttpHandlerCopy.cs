// A second SocketsHttpHandler with the settings of a first.
namespace MegaPipe.Kestrel.Internal.Connecting;

internal static class HttpHandlerCopy
{
    /// <summary>
    /// All settings, but for <see cref="SocketsHttpHandler.ConnectCallback"/>. What is an object of its own (cookies,
    /// credentials, TLS options) is shared, as it is between the connections of one handler.
    /// </summary>
    public static SocketsHttpHandler Of(SocketsHttpHandler from)
    {
        SocketsHttpHandler to = new()
        {
            ActivityHeadersPropagator = from.ActivityHeadersPropagator,
            AllowAutoRedirect = from.AllowAutoRedirect,
            AutomaticDecompression = from.AutomaticDecompression,
            ConnectTimeout = from.ConnectTimeout,
            CookieContainer = from.CookieContainer,
            Credentials = from.Credentials,
            DefaultProxyCredentials = from.DefaultProxyCredentials,
            EnableMultipleHttp2Connections = from.EnableMultipleHttp2Connections,
            EnableMultipleHttp3Connections = from.EnableMultipleHttp3Connections,
            Expect100ContinueTimeout = from.Expect100ContinueTimeout,
            InitialHttp2StreamWindowSize = from.InitialHttp2StreamWindowSize,
            KeepAlivePingDelay = from.KeepAlivePingDelay,
            KeepAlivePingPolicy = from.KeepAlivePingPolicy,
            KeepAlivePingTimeout = from.KeepAlivePingTimeout,
            MaxAutomaticRedirections = from.MaxAutomaticRedirections,
            MaxConnectionsPerServer = from.MaxConnectionsPerServer,
            MaxResponseDrainSize = from.MaxResponseDrainSize,
            MaxResponseHeadersLength = from.MaxResponseHeadersLength,
            MeterFactory = from.MeterFactory,
            PlaintextStreamFilter = from.PlaintextStreamFilter,
            PooledConnectionIdleTimeout = from.PooledConnectionIdleTimeout,
            PooledConnectionLifetime = from.PooledConnectionLifetime,
            PreAuthenticate = from.PreAuthenticate,
            Proxy = from.Proxy,
            RequestHeaderEncodingSelector = from.RequestHeaderEncodingSelector,
            ResponseDrainTimeout = from.ResponseDrainTimeout,
            ResponseHeaderEncodingSelector = from.ResponseHeaderEncodingSelector,
            SslOptions = from.SslOptions,
            UseCookies = from.UseCookies,
            UseProxy = from.UseProxy,
        };
        foreach ((string key, object? value) in from.Properties)
        {
            to.Properties[key] = value;
        }

        return to;
    }
}
