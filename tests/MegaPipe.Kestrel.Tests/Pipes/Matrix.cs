// Which pipes each pipe suite runs on. Filter: Transport=<kind> (or StandardPipe), Area=<suite>.
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Pipes;

[Trait("Transport", "StandardPipe"), Trait("Area", "PipeReader")]
public sealed class PipeReaderOnStandardPipe() : PipeReaderContract(PipeKind.StandardPipe);

[Trait("Transport", "Sockets"), Trait("Area", "PipeReader")]
public sealed class PipeReaderOnSockets() : PipeReaderContract(PipeKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "PipeReader")]
public sealed class PipeReaderOnMegaPipe() : PipeReaderContract(PipeKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "PipeReader")]
public sealed class PipeReaderOnMegaPipeThreadPool() : PipeReaderContract(PipeKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "PipeReader")]
public sealed class PipeReaderOnMegaPipeInline() : PipeReaderContract(PipeKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "PipeReader")]
public sealed class PipeReaderOnMegaPipeNoLwsocket() : PipeReaderContract(PipeKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "PipeReader")]
public sealed class PipeReaderOnMegaPipeLwsocketAlways() : PipeReaderContract(PipeKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "PipeReader")]
public sealed class PipeReaderOnMegaPipeSmallBuffers() : PipeReaderContract(PipeKind.MegaPipeSmallBuffers);

[Trait("Transport", "StandardPipe"), Trait("Area", "PipeCancellation")]
public sealed class PipeCancellationOnStandardPipe() : PipeCancellationContract(PipeKind.StandardPipe);

[Trait("Transport", "Sockets"), Trait("Area", "PipeCancellation")]
public sealed class PipeCancellationOnSockets() : PipeCancellationContract(PipeKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "PipeCancellation")]
public sealed class PipeCancellationOnMegaPipe() : PipeCancellationContract(PipeKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "PipeCancellation")]
public sealed class PipeCancellationOnMegaPipeThreadPool() : PipeCancellationContract(PipeKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "PipeCancellation")]
public sealed class PipeCancellationOnMegaPipeInline() : PipeCancellationContract(PipeKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "PipeCancellation")]
public sealed class PipeCancellationOnMegaPipeNoLwsocket() : PipeCancellationContract(PipeKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "PipeCancellation")]
public sealed class PipeCancellationOnMegaPipeLwsocketAlways()
    : PipeCancellationContract(PipeKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "PipeCancellation")]
public sealed class PipeCancellationOnMegaPipeSmallBuffers() : PipeCancellationContract(PipeKind.MegaPipeSmallBuffers);

[Trait("Transport", "StandardPipe"), Trait("Area", "PipeWriter")]
public sealed class PipeWriterOnStandardPipe() : PipeWriterContract(PipeKind.StandardPipe);

[Trait("Transport", "Sockets"), Trait("Area", "PipeWriter")]
public sealed class PipeWriterOnSockets() : PipeWriterContract(PipeKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "PipeWriter")]
public sealed class PipeWriterOnMegaPipe() : PipeWriterContract(PipeKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "PipeWriter")]
public sealed class PipeWriterOnMegaPipeThreadPool() : PipeWriterContract(PipeKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "PipeWriter")]
public sealed class PipeWriterOnMegaPipeInline() : PipeWriterContract(PipeKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "PipeWriter")]
public sealed class PipeWriterOnMegaPipeNoLwsocket() : PipeWriterContract(PipeKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "PipeWriter")]
public sealed class PipeWriterOnMegaPipeLwsocketAlways() : PipeWriterContract(PipeKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "PipeWriter")]
public sealed class PipeWriterOnMegaPipeSmallBuffers() : PipeWriterContract(PipeKind.MegaPipeSmallBuffers);

[Trait("Transport", "StandardPipe"), Trait("Area", "PipeMisuse")]
public sealed class PipeMisuseOnStandardPipe() : PipeMisuseContract(PipeKind.StandardPipe);

[Trait("Transport", "Sockets"), Trait("Area", "PipeMisuse")]
public sealed class PipeMisuseOnSockets() : PipeMisuseContract(PipeKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "PipeMisuse")]
public sealed class PipeMisuseOnMegaPipe() : PipeMisuseContract(PipeKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "PipeMisuse")]
public sealed class PipeMisuseOnMegaPipeThreadPool() : PipeMisuseContract(PipeKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "PipeMisuse")]
public sealed class PipeMisuseOnMegaPipeInline() : PipeMisuseContract(PipeKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "PipeMisuse")]
public sealed class PipeMisuseOnMegaPipeNoLwsocket() : PipeMisuseContract(PipeKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "PipeMisuse")]
public sealed class PipeMisuseOnMegaPipeLwsocketAlways() : PipeMisuseContract(PipeKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "PipeMisuse")]
public sealed class PipeMisuseOnMegaPipeSmallBuffers() : PipeMisuseContract(PipeKind.MegaPipeSmallBuffers);

[Trait("Transport", "StandardPipe"), Trait("Area", "PipeStream")]
public sealed class PipeStreamOnStandardPipe() : PipeStreamContract(PipeKind.StandardPipe);

[Trait("Transport", "Sockets"), Trait("Area", "PipeStream")]
public sealed class PipeStreamOnSockets() : PipeStreamContract(PipeKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "PipeStream")]
public sealed class PipeStreamOnMegaPipe() : PipeStreamContract(PipeKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "PipeStream")]
public sealed class PipeStreamOnMegaPipeThreadPool() : PipeStreamContract(PipeKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "PipeStream")]
public sealed class PipeStreamOnMegaPipeInline() : PipeStreamContract(PipeKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "PipeStream")]
public sealed class PipeStreamOnMegaPipeNoLwsocket() : PipeStreamContract(PipeKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "PipeStream")]
public sealed class PipeStreamOnMegaPipeLwsocketAlways() : PipeStreamContract(PipeKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "PipeStream")]
public sealed class PipeStreamOnMegaPipeSmallBuffers() : PipeStreamContract(PipeKind.MegaPipeSmallBuffers);

[Trait("Transport", "StandardPipe"), Trait("Area", "PipeStress")]
public sealed class PipeStressOnStandardPipe(ITestOutputHelper output)
    : PipeStressContract(PipeKind.StandardPipe, output);

[Trait("Transport", "Sockets"), Trait("Area", "PipeStress")]
public sealed class PipeStressOnSockets(ITestOutputHelper output)
    : PipeStressContract(PipeKind.Sockets, output);

[Trait("Transport", "MegaPipe"), Trait("Area", "PipeStress")]
public sealed class PipeStressOnMegaPipe(ITestOutputHelper output)
    : PipeStressContract(PipeKind.MegaPipe, output);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "PipeStress")]
public sealed class PipeStressOnMegaPipeThreadPool(ITestOutputHelper output)
    : PipeStressContract(PipeKind.MegaPipeThreadPool, output);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "PipeStress")]
public sealed class PipeStressOnMegaPipeInline(ITestOutputHelper output)
    : PipeStressContract(PipeKind.MegaPipeInline, output);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "PipeStress")]
public sealed class PipeStressOnMegaPipeNoLwsocket(ITestOutputHelper output)
    : PipeStressContract(PipeKind.MegaPipeNoLwsocket, output);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "PipeStress")]
public sealed class PipeStressOnMegaPipeLwsocketAlways(ITestOutputHelper output)
    : PipeStressContract(PipeKind.MegaPipeLwsocketAlways, output);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "PipeStress")]
public sealed class PipeStressOnMegaPipeSmallBuffers(ITestOutputHelper output)
    : PipeStressContract(PipeKind.MegaPipeSmallBuffers, output);
