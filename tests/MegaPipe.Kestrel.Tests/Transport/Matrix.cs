// Which transports each transport-level suite runs on. Filter: Transport=<kind>, Area=<suite>.
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Transport;

[Trait("Transport", "Sockets")]
public sealed class SelectionOnSockets() : SelectionContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class SelectionOnMegaPipe() : SelectionContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class SelectionOnMegaPipeThreadPool() : SelectionContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class SelectionOnMegaPipeInline() : SelectionContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class SelectionOnMegaPipeNoLwsocket() : SelectionContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class SelectionOnMegaPipeLwsocketAlways() : SelectionContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class SelectionOnMegaPipeSmallBuffers() : SelectionContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class BindOnSockets() : BindContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class BindOnMegaPipe() : BindContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class BindOnMegaPipeThreadPool() : BindContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class BindOnMegaPipeInline() : BindContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class BindOnMegaPipeNoLwsocket() : BindContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class BindOnMegaPipeLwsocketAlways() : BindContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class BindOnMegaPipeSmallBuffers() : BindContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class AcceptOnSockets() : AcceptContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class AcceptOnMegaPipe() : AcceptContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class AcceptOnMegaPipeThreadPool() : AcceptContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class AcceptOnMegaPipeInline() : AcceptContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class AcceptOnMegaPipeNoLwsocket() : AcceptContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class AcceptOnMegaPipeLwsocketAlways() : AcceptContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class AcceptOnMegaPipeSmallBuffers() : AcceptContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class ConnectionOnSockets() : ConnectionContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class ConnectionOnMegaPipe() : ConnectionContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class ConnectionOnMegaPipeThreadPool() : ConnectionContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class ConnectionOnMegaPipeInline() : ConnectionContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class ConnectionOnMegaPipeNoLwsocket() : ConnectionContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class ConnectionOnMegaPipeLwsocketAlways() : ConnectionContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class ConnectionOnMegaPipeSmallBuffers() : ConnectionContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class UnixSocketOnSockets() : UnixSocketContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class UnixSocketOnMegaPipe() : UnixSocketContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class UnixSocketOnMegaPipeThreadPool() : UnixSocketContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class UnixSocketOnMegaPipeInline() : UnixSocketContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class UnixSocketOnMegaPipeNoLwsocket() : UnixSocketContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class UnixSocketOnMegaPipeLwsocketAlways() : UnixSocketContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class UnixSocketOnMegaPipeSmallBuffers() : UnixSocketContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class HandleOnSockets() : HandleContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class HandleOnMegaPipe() : HandleContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class HandleOnMegaPipeThreadPool() : HandleContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class HandleOnMegaPipeInline() : HandleContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class HandleOnMegaPipeNoLwsocket() : HandleContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class HandleOnMegaPipeLwsocketAlways() : HandleContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class HandleOnMegaPipeSmallBuffers() : HandleContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class ReadEndOnSockets() : ReadEndContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class ReadEndOnMegaPipe() : ReadEndContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class ReadEndOnMegaPipeThreadPool() : ReadEndContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class ReadEndOnMegaPipeInline() : ReadEndContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class ReadEndOnMegaPipeNoLwsocket() : ReadEndContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class ReadEndOnMegaPipeLwsocketAlways() : ReadEndContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class ReadEndOnMegaPipeSmallBuffers() : ReadEndContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class CloseOnSockets() : CloseContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class CloseOnMegaPipe() : CloseContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class CloseOnMegaPipeThreadPool() : CloseContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class CloseOnMegaPipeInline() : CloseContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class CloseOnMegaPipeNoLwsocket() : CloseContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class CloseOnMegaPipeLwsocketAlways() : CloseContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class CloseOnMegaPipeSmallBuffers() : CloseContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class AbortOnSockets() : AbortContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class AbortOnMegaPipe() : AbortContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class AbortOnMegaPipeThreadPool() : AbortContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class AbortOnMegaPipeInline() : AbortContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class AbortOnMegaPipeNoLwsocket() : AbortContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class AbortOnMegaPipeLwsocketAlways() : AbortContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class AbortOnMegaPipeSmallBuffers() : AbortContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class BackPressureOnSockets() : BackPressureContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class BackPressureOnMegaPipe() : BackPressureContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class BackPressureOnMegaPipeThreadPool() : BackPressureContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class BackPressureOnMegaPipeInline() : BackPressureContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class BackPressureOnMegaPipeNoLwsocket() : BackPressureContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class BackPressureOnMegaPipeLwsocketAlways() : BackPressureContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class BackPressureOnMegaPipeSmallBuffers() : BackPressureContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class LogOnSockets() : LogContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class LogOnMegaPipe() : LogContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class LogOnMegaPipeThreadPool() : LogContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class LogOnMegaPipeInline() : LogContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class LogOnMegaPipeNoLwsocket() : LogContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class LogOnMegaPipeLwsocketAlways() : LogContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class LogOnMegaPipeSmallBuffers() : LogContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets")]
public sealed class MemoryOnSockets() : MemoryContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe")]
public sealed class MemoryOnMegaPipe() : MemoryContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool")]
public sealed class MemoryOnMegaPipeThreadPool() : MemoryContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline")]
public sealed class MemoryOnMegaPipeInline() : MemoryContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket")]
public sealed class MemoryOnMegaPipeNoLwsocket() : MemoryContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways")]
public sealed class MemoryOnMegaPipeLwsocketAlways() : MemoryContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers")]
public sealed class MemoryOnMegaPipeSmallBuffers() : MemoryContract(TransportKind.MegaPipeSmallBuffers);
