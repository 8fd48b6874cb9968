// Which transports each transport-level suite runs on. Filter: Transport=<kind>, Area=<suite>.
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Transport;

[Trait("Transport", "Sockets"), Trait("Area", "Selection")]
public sealed class SelectionOnSockets() : SelectionContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Selection")]
public sealed class SelectionOnMegaPipe() : SelectionContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Selection")]
public sealed class SelectionOnMegaPipeThreadPool() : SelectionContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Selection")]
public sealed class SelectionOnMegaPipeInline() : SelectionContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Selection")]
public sealed class SelectionOnMegaPipeNoLwsocket() : SelectionContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Selection")]
public sealed class SelectionOnMegaPipeLwsocketAlways() : SelectionContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Selection")]
public sealed class SelectionOnMegaPipeSmallBuffers() : SelectionContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Selection")]
public sealed class SelectionOnMegaPipeFallback() : SelectionContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Bind")]
public sealed class BindOnSockets() : BindContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Bind")]
public sealed class BindOnMegaPipe() : BindContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Bind")]
public sealed class BindOnMegaPipeThreadPool() : BindContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Bind")]
public sealed class BindOnMegaPipeInline() : BindContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Bind")]
public sealed class BindOnMegaPipeNoLwsocket() : BindContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Bind")]
public sealed class BindOnMegaPipeLwsocketAlways() : BindContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Bind")]
public sealed class BindOnMegaPipeSmallBuffers() : BindContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Bind")]
public sealed class BindOnMegaPipeFallback() : BindContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Accept")]
public sealed class AcceptOnSockets() : AcceptContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Accept")]
public sealed class AcceptOnMegaPipe() : AcceptContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Accept")]
public sealed class AcceptOnMegaPipeThreadPool() : AcceptContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Accept")]
public sealed class AcceptOnMegaPipeInline() : AcceptContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Accept")]
public sealed class AcceptOnMegaPipeNoLwsocket() : AcceptContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Accept")]
public sealed class AcceptOnMegaPipeLwsocketAlways() : AcceptContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Accept")]
public sealed class AcceptOnMegaPipeSmallBuffers() : AcceptContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Accept")]
public sealed class AcceptOnMegaPipeFallback() : AcceptContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Connection")]
public sealed class ConnectionOnSockets() : ConnectionContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Connection")]
public sealed class ConnectionOnMegaPipe() : ConnectionContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Connection")]
public sealed class ConnectionOnMegaPipeThreadPool() : ConnectionContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Connection")]
public sealed class ConnectionOnMegaPipeInline() : ConnectionContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Connection")]
public sealed class ConnectionOnMegaPipeNoLwsocket() : ConnectionContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Connection")]
public sealed class ConnectionOnMegaPipeLwsocketAlways() : ConnectionContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Connection")]
public sealed class ConnectionOnMegaPipeSmallBuffers() : ConnectionContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "Connection")]
public sealed class ConnectionOnMegaPipeMoving() : ConnectionContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Connection")]
public sealed class ConnectionOnMegaPipeFallback() : ConnectionContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "UnixSocket")]
public sealed class UnixSocketOnSockets() : UnixSocketContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "UnixSocket")]
public sealed class UnixSocketOnMegaPipe() : UnixSocketContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "UnixSocket")]
public sealed class UnixSocketOnMegaPipeThreadPool() : UnixSocketContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "UnixSocket")]
public sealed class UnixSocketOnMegaPipeInline() : UnixSocketContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "UnixSocket")]
public sealed class UnixSocketOnMegaPipeNoLwsocket() : UnixSocketContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "UnixSocket")]
public sealed class UnixSocketOnMegaPipeLwsocketAlways() : UnixSocketContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "UnixSocket")]
public sealed class UnixSocketOnMegaPipeSmallBuffers() : UnixSocketContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "UnixSocket")]
public sealed class UnixSocketOnMegaPipeFallback() : UnixSocketContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Handle")]
public sealed class HandleOnSockets() : HandleContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Handle")]
public sealed class HandleOnMegaPipe() : HandleContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Handle")]
public sealed class HandleOnMegaPipeThreadPool() : HandleContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Handle")]
public sealed class HandleOnMegaPipeInline() : HandleContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Handle")]
public sealed class HandleOnMegaPipeNoLwsocket() : HandleContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Handle")]
public sealed class HandleOnMegaPipeLwsocketAlways() : HandleContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Handle")]
public sealed class HandleOnMegaPipeSmallBuffers() : HandleContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Handle")]
public sealed class HandleOnMegaPipeFallback() : HandleContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "ReadEnd")]
public sealed class ReadEndOnSockets() : ReadEndContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "ReadEnd")]
public sealed class ReadEndOnMegaPipe() : ReadEndContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "ReadEnd")]
public sealed class ReadEndOnMegaPipeThreadPool() : ReadEndContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "ReadEnd")]
public sealed class ReadEndOnMegaPipeInline() : ReadEndContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "ReadEnd")]
public sealed class ReadEndOnMegaPipeNoLwsocket() : ReadEndContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "ReadEnd")]
public sealed class ReadEndOnMegaPipeLwsocketAlways() : ReadEndContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "ReadEnd")]
public sealed class ReadEndOnMegaPipeSmallBuffers() : ReadEndContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "ReadEnd")]
public sealed class ReadEndOnMegaPipeMoving() : ReadEndContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "ReadEnd")]
public sealed class ReadEndOnMegaPipeFallback() : ReadEndContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Close")]
public sealed class CloseOnSockets() : CloseContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Close")]
public sealed class CloseOnMegaPipe() : CloseContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Close")]
public sealed class CloseOnMegaPipeThreadPool() : CloseContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Close")]
public sealed class CloseOnMegaPipeInline() : CloseContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Close")]
public sealed class CloseOnMegaPipeNoLwsocket() : CloseContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Close")]
public sealed class CloseOnMegaPipeLwsocketAlways() : CloseContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Close")]
public sealed class CloseOnMegaPipeSmallBuffers() : CloseContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "Close")]
public sealed class CloseOnMegaPipeMoving() : CloseContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Close")]
public sealed class CloseOnMegaPipeFallback() : CloseContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Abort")]
public sealed class AbortOnSockets() : AbortContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Abort")]
public sealed class AbortOnMegaPipe() : AbortContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Abort")]
public sealed class AbortOnMegaPipeThreadPool() : AbortContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Abort")]
public sealed class AbortOnMegaPipeInline() : AbortContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Abort")]
public sealed class AbortOnMegaPipeNoLwsocket() : AbortContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Abort")]
public sealed class AbortOnMegaPipeLwsocketAlways() : AbortContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Abort")]
public sealed class AbortOnMegaPipeSmallBuffers() : AbortContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "Abort")]
public sealed class AbortOnMegaPipeMoving() : AbortContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "Sockets"), Trait("Area", "End")]
public sealed class EndOnSockets() : EndContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "End")]
public sealed class EndOnMegaPipe() : EndContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "End")]
public sealed class EndOnMegaPipeThreadPool() : EndContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "End")]
public sealed class EndOnMegaPipeInline() : EndContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "End")]
public sealed class EndOnMegaPipeNoLwsocket() : EndContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "End")]
public sealed class EndOnMegaPipeLwsocketAlways() : EndContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "End")]
public sealed class EndOnMegaPipeSmallBuffers() : EndContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "End")]
public sealed class EndOnMegaPipeMoving() : EndContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "Sockets"), Trait("Area", "SocketFeature")]
public sealed class SocketFeatureOnSockets() : SocketFeatureContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "SocketFeature")]
public sealed class SocketFeatureOnMegaPipe() : SocketFeatureContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "SocketFeature")]
public sealed class SocketFeatureOnMegaPipeThreadPool() : SocketFeatureContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "SocketFeature")]
public sealed class SocketFeatureOnMegaPipeInline() : SocketFeatureContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "SocketFeature")]
public sealed class SocketFeatureOnMegaPipeNoLwsocket() : SocketFeatureContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "SocketFeature")]
public sealed class SocketFeatureOnMegaPipeLwsocketAlways()
    : SocketFeatureContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "SocketFeature")]
public sealed class SocketFeatureOnMegaPipeSmallBuffers() : SocketFeatureContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "SocketFeature")]
public sealed class SocketFeatureOnMegaPipeMoving() : SocketFeatureContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Abort")]
public sealed class AbortOnMegaPipeFallback() : AbortContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "BackPressure")]
public sealed class BackPressureOnSockets() : BackPressureContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "BackPressure")]
public sealed class BackPressureOnMegaPipe() : BackPressureContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "BackPressure")]
public sealed class BackPressureOnMegaPipeThreadPool() : BackPressureContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "BackPressure")]
public sealed class BackPressureOnMegaPipeInline() : BackPressureContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "BackPressure")]
public sealed class BackPressureOnMegaPipeNoLwsocket() : BackPressureContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "BackPressure")]
public sealed class BackPressureOnMegaPipeLwsocketAlways() : BackPressureContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "BackPressure")]
public sealed class BackPressureOnMegaPipeSmallBuffers() : BackPressureContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "BackPressure")]
public sealed class BackPressureOnMegaPipeMoving() : BackPressureContract(TransportKind.MegaPipeMoving);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "BackPressure")]
public sealed class BackPressureOnMegaPipeFallback() : BackPressureContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Log")]
public sealed class LogOnSockets() : LogContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Log")]
public sealed class LogOnMegaPipe() : LogContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Log")]
public sealed class LogOnMegaPipeThreadPool() : LogContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Log")]
public sealed class LogOnMegaPipeInline() : LogContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Log")]
public sealed class LogOnMegaPipeNoLwsocket() : LogContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Log")]
public sealed class LogOnMegaPipeLwsocketAlways() : LogContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Log")]
public sealed class LogOnMegaPipeSmallBuffers() : LogContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Log")]
public sealed class LogOnMegaPipeFallback() : LogContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "Memory")]
public sealed class MemoryOnSockets() : MemoryContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Memory")]
public sealed class MemoryOnMegaPipe() : MemoryContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Memory")]
public sealed class MemoryOnMegaPipeThreadPool() : MemoryContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Memory")]
public sealed class MemoryOnMegaPipeInline() : MemoryContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Memory")]
public sealed class MemoryOnMegaPipeNoLwsocket() : MemoryContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Memory")]
public sealed class MemoryOnMegaPipeLwsocketAlways() : MemoryContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Memory")]
public sealed class MemoryOnMegaPipeSmallBuffers() : MemoryContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Memory")]
public sealed class MemoryOnMegaPipeFallback() : MemoryContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "GivenSocket")]
public sealed class GivenSocketOnSockets() : GivenSocketContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "GivenSocket")]
public sealed class GivenSocketOnMegaPipe() : GivenSocketContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "GivenSocket")]
public sealed class GivenSocketOnMegaPipeThreadPool() : GivenSocketContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "GivenSocket")]
public sealed class GivenSocketOnMegaPipeInline() : GivenSocketContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "GivenSocket")]
public sealed class GivenSocketOnMegaPipeSmallBuffers() : GivenSocketContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "GivenSocket")]
public sealed class GivenSocketOnMegaPipeFallback() : GivenSocketContract(TransportKind.MegaPipeFallback);
