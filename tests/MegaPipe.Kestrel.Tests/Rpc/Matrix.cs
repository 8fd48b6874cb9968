// Which transports the gRPC suite runs on. Filter: Transport=<kind>, Area=Grpc.
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Rpc;

[Trait("Transport", "Sockets"), Trait("Area", "Grpc")]
public sealed class GrpcOnSockets() : GrpcContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Grpc")]
public sealed class GrpcOnMegaPipe() : GrpcContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Grpc")]
public sealed class GrpcOnMegaPipeThreadPool() : GrpcContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Grpc")]
public sealed class GrpcOnMegaPipeInline() : GrpcContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Grpc")]
public sealed class GrpcOnMegaPipeSmallBuffers() : GrpcContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeMoving"), Trait("Area", "Grpc")]
public sealed class GrpcOnMegaPipeMoving() : GrpcContract(TransportKind.MegaPipeMoving);
