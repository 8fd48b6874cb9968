// Which transports each host-level suite runs on. Filter: Transport=<kind>, Area=<suite>.
// DataRate waits for real seconds, so it runs only where the way of scheduling differs.
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Host;

[Trait("Transport", "Sockets"), Trait("Area", "Http1")]
public sealed class Http1OnSockets() : Http1Contract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Http1")]
public sealed class Http1OnMegaPipe() : Http1Contract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Http1")]
public sealed class Http1OnMegaPipeThreadPool() : Http1Contract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Http1")]
public sealed class Http1OnMegaPipeInline() : Http1Contract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Http1")]
public sealed class Http1OnMegaPipeNoLwsocket() : Http1Contract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Http1")]
public sealed class Http1OnMegaPipeLwsocketAlways() : Http1Contract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Http1")]
public sealed class Http1OnMegaPipeSmallBuffers() : Http1Contract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "Http1")]
public sealed class Http1OnMegaPipeMoving() : Http1Contract(TransportKind.MegaPipeMoving);

[Trait("Transport", "Sockets"), Trait("Area", "HalfClose")]
public sealed class HalfCloseOnSockets() : HalfCloseContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "HalfClose")]
public sealed class HalfCloseOnMegaPipe() : HalfCloseContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "HalfClose")]
public sealed class HalfCloseOnMegaPipeThreadPool() : HalfCloseContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "HalfClose")]
public sealed class HalfCloseOnMegaPipeInline() : HalfCloseContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "HalfClose")]
public sealed class HalfCloseOnMegaPipeNoLwsocket() : HalfCloseContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "HalfClose")]
public sealed class HalfCloseOnMegaPipeLwsocketAlways() : HalfCloseContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "HalfClose")]
public sealed class HalfCloseOnMegaPipeSmallBuffers() : HalfCloseContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Http1")]
public sealed class Http1OnMegaPipeFallback() : Http1Contract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Body")]
public sealed class BodyOnSockets() : BodyContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Body")]
public sealed class BodyOnMegaPipe() : BodyContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Body")]
public sealed class BodyOnMegaPipeThreadPool() : BodyContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Body")]
public sealed class BodyOnMegaPipeInline() : BodyContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Body")]
public sealed class BodyOnMegaPipeNoLwsocket() : BodyContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Body")]
public sealed class BodyOnMegaPipeLwsocketAlways() : BodyContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Body")]
public sealed class BodyOnMegaPipeSmallBuffers() : BodyContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "Body")]
public sealed class BodyOnMegaPipeMoving() : BodyContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Body")]
public sealed class BodyOnMegaPipeFallback() : BodyContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Http2")]
public sealed class Http2OnSockets() : Http2Contract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Http2")]
public sealed class Http2OnMegaPipe() : Http2Contract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Http2")]
public sealed class Http2OnMegaPipeThreadPool() : Http2Contract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Http2")]
public sealed class Http2OnMegaPipeInline() : Http2Contract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Http2")]
public sealed class Http2OnMegaPipeNoLwsocket() : Http2Contract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Http2")]
public sealed class Http2OnMegaPipeLwsocketAlways() : Http2Contract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Http2")]
public sealed class Http2OnMegaPipeSmallBuffers() : Http2Contract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "Http2")]
public sealed class Http2OnMegaPipeMoving() : Http2Contract(TransportKind.MegaPipeMoving);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Http2")]
public sealed class Http2OnMegaPipeFallback() : Http2Contract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Tls")]
public sealed class TlsOnSockets() : TlsContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Tls")]
public sealed class TlsOnMegaPipe() : TlsContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Tls")]
public sealed class TlsOnMegaPipeThreadPool() : TlsContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Tls")]
public sealed class TlsOnMegaPipeInline() : TlsContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Tls")]
public sealed class TlsOnMegaPipeNoLwsocket() : TlsContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Tls")]
public sealed class TlsOnMegaPipeLwsocketAlways() : TlsContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Tls")]
public sealed class TlsOnMegaPipeSmallBuffers() : TlsContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "Tls")]
public sealed class TlsOnMegaPipeMoving() : TlsContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Tls")]
public sealed class TlsOnMegaPipeFallback() : TlsContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "WebSocket")]
public sealed class WebSocketOnSockets() : WebSocketContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "WebSocket")]
public sealed class WebSocketOnMegaPipe() : WebSocketContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "WebSocket")]
public sealed class WebSocketOnMegaPipeThreadPool() : WebSocketContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "WebSocket")]
public sealed class WebSocketOnMegaPipeInline() : WebSocketContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "WebSocket")]
public sealed class WebSocketOnMegaPipeNoLwsocket() : WebSocketContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "WebSocket")]
public sealed class WebSocketOnMegaPipeLwsocketAlways() : WebSocketContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "WebSocket")]
public sealed class WebSocketOnMegaPipeSmallBuffers() : WebSocketContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "WebSocket")]
public sealed class WebSocketOnMegaPipeMoving() : WebSocketContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "WebSocket")]
public sealed class WebSocketOnMegaPipeFallback() : WebSocketContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "ConnectionMiddleware")]
public sealed class ConnectionMiddlewareOnSockets() : ConnectionMiddlewareContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "ConnectionMiddleware")]
public sealed class ConnectionMiddlewareOnMegaPipe() : ConnectionMiddlewareContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "ConnectionMiddleware")]
public sealed class ConnectionMiddlewareOnMegaPipeThreadPool()
    : ConnectionMiddlewareContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "ConnectionMiddleware")]
public sealed class ConnectionMiddlewareOnMegaPipeInline() : ConnectionMiddlewareContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "ConnectionMiddleware")]
public sealed class ConnectionMiddlewareOnMegaPipeNoLwsocket()
    : ConnectionMiddlewareContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "ConnectionMiddleware")]
public sealed class ConnectionMiddlewareOnMegaPipeLwsocketAlways()
    : ConnectionMiddlewareContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "ConnectionMiddleware")]
public sealed class ConnectionMiddlewareOnMegaPipeSmallBuffers()
    : ConnectionMiddlewareContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "ConnectionMiddleware")]
public sealed class ConnectionMiddlewareOnMegaPipeFallback()
    : ConnectionMiddlewareContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "AbortedRequest")]
public sealed class AbortedRequestOnSockets() : AbortedRequestContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "AbortedRequest")]
public sealed class AbortedRequestOnMegaPipe() : AbortedRequestContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "AbortedRequest")]
public sealed class AbortedRequestOnMegaPipeThreadPool() : AbortedRequestContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "AbortedRequest")]
public sealed class AbortedRequestOnMegaPipeInline() : AbortedRequestContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "AbortedRequest")]
public sealed class AbortedRequestOnMegaPipeNoLwsocket() : AbortedRequestContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "AbortedRequest")]
public sealed class AbortedRequestOnMegaPipeLwsocketAlways()
    : AbortedRequestContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "AbortedRequest")]
public sealed class AbortedRequestOnMegaPipeSmallBuffers() : AbortedRequestContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "AbortedRequest")]
public sealed class AbortedRequestOnMegaPipeFallback() : AbortedRequestContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "BindHost")]
public sealed class BindHostOnSockets() : BindHostContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "BindHost")]
public sealed class BindHostOnMegaPipe() : BindHostContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "BindHost")]
public sealed class BindHostOnMegaPipeThreadPool() : BindHostContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "BindHost")]
public sealed class BindHostOnMegaPipeInline() : BindHostContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "BindHost")]
public sealed class BindHostOnMegaPipeNoLwsocket() : BindHostContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "BindHost")]
public sealed class BindHostOnMegaPipeLwsocketAlways() : BindHostContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "BindHost")]
public sealed class BindHostOnMegaPipeSmallBuffers() : BindHostContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "BindHost")]
public sealed class BindHostOnMegaPipeFallback() : BindHostContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Start")]
public sealed class StartOnSockets() : StartContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Start")]
public sealed class StartOnMegaPipe() : StartContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Start")]
public sealed class StartOnMegaPipeThreadPool() : StartContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Start")]
public sealed class StartOnMegaPipeInline() : StartContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Start")]
public sealed class StartOnMegaPipeNoLwsocket() : StartContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Start")]
public sealed class StartOnMegaPipeLwsocketAlways() : StartContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Start")]
public sealed class StartOnMegaPipeSmallBuffers() : StartContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Start")]
public sealed class StartOnMegaPipeFallback() : StartContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Stop")]
public sealed class StopOnSockets() : StopContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Stop")]
public sealed class StopOnMegaPipe() : StopContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Stop")]
public sealed class StopOnMegaPipeThreadPool() : StopContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Stop")]
public sealed class StopOnMegaPipeInline() : StopContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Stop")]
public sealed class StopOnMegaPipeNoLwsocket() : StopContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Stop")]
public sealed class StopOnMegaPipeLwsocketAlways() : StopContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Stop")]
public sealed class StopOnMegaPipeSmallBuffers() : StopContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "Stop")]
public sealed class StopOnMegaPipeMoving() : StopContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Stop")]
public sealed class StopOnMegaPipeFallback() : StopContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "DataRate")]
public sealed class DataRateOnSockets() : DataRateContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "DataRate")]
public sealed class DataRateOnMegaPipe() : DataRateContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "DataRate")]
public sealed class DataRateOnMegaPipeThreadPool() : DataRateContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "DataRate")]
public sealed class DataRateOnMegaPipeFallback() : DataRateContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Meter")]
public sealed class MeterOnSockets() : MeterContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Meter")]
public sealed class MeterOnMegaPipe() : MeterContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Meter")]
public sealed class MeterOnMegaPipeThreadPool() : MeterContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Meter")]
public sealed class MeterOnMegaPipeInline() : MeterContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Meter")]
public sealed class MeterOnMegaPipeNoLwsocket() : MeterContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Meter")]
public sealed class MeterOnMegaPipeLwsocketAlways() : MeterContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Meter")]
public sealed class MeterOnMegaPipeSmallBuffers() : MeterContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Meter")]
public sealed class MeterOnMegaPipeFallback() : MeterContract(TransportKind.MegaPipeFallback);
