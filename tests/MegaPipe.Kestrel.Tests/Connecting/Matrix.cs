// Which ways out each suite of outgoing connections runs on. Filter: Transport=<kind>, Area=<suite>.
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Connecting;

[Trait("Transport", "Sockets"), Trait("Area", "Connect")]
public sealed class ConnectOnSockets() : ConnectContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Connect")]
public sealed class ConnectOnMegaPipe() : ConnectContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Connect")]
public sealed class ConnectOnMegaPipeThreadPool() : ConnectContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Connect")]
public sealed class ConnectOnMegaPipeInline() : ConnectContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Connect")]
public sealed class ConnectOnMegaPipeNoLwsocket() : ConnectContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Connect")]
public sealed class ConnectOnMegaPipeLwsocketAlways() : ConnectContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Connect")]
public sealed class ConnectOnMegaPipeSmallBuffers() : ConnectContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Connect")]
public sealed class ConnectOnMegaPipeFallback() : ConnectContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "ConnectionStream")]
public sealed class ConnectionStreamOnSockets() : StreamContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "ConnectionStream")]
public sealed class ConnectionStreamOnMegaPipe() : StreamContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "ConnectionStream")]
public sealed class ConnectionStreamOnMegaPipeThreadPool() : StreamContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "ConnectionStream")]
public sealed class ConnectionStreamOnMegaPipeInline() : StreamContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "ConnectionStream")]
public sealed class ConnectionStreamOnMegaPipeNoLwsocket() : StreamContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "ConnectionStream")]
public sealed class ConnectionStreamOnMegaPipeLwsocketAlways() : StreamContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "ConnectionStream")]
public sealed class ConnectionStreamOnMegaPipeSmallBuffers() : StreamContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "ConnectionStream")]
public sealed class ConnectionStreamOnMegaPipeFallback() : StreamContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "LargeRead")]
public sealed class LargeReadOnSockets() : LargeReadContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "LargeRead")]
public sealed class LargeReadOnMegaPipe() : LargeReadContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "LargeRead")]
public sealed class LargeReadOnMegaPipeThreadPool() : LargeReadContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "LargeRead")]
public sealed class LargeReadOnMegaPipeInline() : LargeReadContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "LargeRead")]
public sealed class LargeReadOnMegaPipeNoLwsocket() : LargeReadContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "LargeRead")]
public sealed class LargeReadOnMegaPipeLwsocketAlways() : LargeReadContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "LargeRead")]
public sealed class LargeReadOnMegaPipeSmallBuffers() : LargeReadContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets"), Trait("Area", "HttpClient")]
public sealed class HttpClientOnSockets() : HttpClientContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "HttpClient")]
public sealed class HttpClientOnMegaPipe() : HttpClientContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "HttpClient")]
public sealed class HttpClientOnMegaPipeInline() : HttpClientContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "HttpClient")]
public sealed class HttpClientOnMegaPipeSmallBuffers() : HttpClientContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "HttpClient")]
public sealed class HttpClientOnMegaPipeFallback() : HttpClientContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "BackendFault")]
public sealed class BackendFaultOnSockets() : BackendFaultContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "BackendFault")]
public sealed class BackendFaultOnMegaPipe() : BackendFaultContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "BackendFault")]
public sealed class BackendFaultOnMegaPipeInline() : BackendFaultContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "BackendFault")]
public sealed class BackendFaultOnMegaPipeSmallBuffers() : BackendFaultContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "BackendFault")]
public sealed class BackendFaultOnMegaPipeFallback() : BackendFaultContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Proxy")]
public sealed class ProxyOnSockets() : ProxyContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Proxy")]
public sealed class ProxyOnMegaPipe() : ProxyContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Proxy")]
public sealed class ProxyOnMegaPipeInline() : ProxyContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Proxy")]
public sealed class ProxyOnMegaPipeSmallBuffers() : ProxyContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Proxy")]
public sealed class ProxyOnMegaPipeFallback() : ProxyContract(TransportKind.MegaPipeFallback);
