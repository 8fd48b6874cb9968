// Which transports each fault suite runs on. Filter: Transport=<kind>, Area=<suite>.
using MegaPipe.Kestrel.Tests.Support;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Faults;

[Trait("Transport", "Sockets"), Trait("Area", "BadInput")]
public sealed class BadInputOnSockets(ITestOutputHelper output)
    : BadInputContract(TransportKind.Sockets, output);

[Trait("Transport", "MegaPipe"), Trait("Area", "BadInput")]
public sealed class BadInputOnMegaPipe(ITestOutputHelper output)
    : BadInputContract(TransportKind.MegaPipe, output);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "BadInput")]
public sealed class BadInputOnMegaPipeThreadPool(ITestOutputHelper output)
    : BadInputContract(TransportKind.MegaPipeThreadPool, output);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "BadInput")]
public sealed class BadInputOnMegaPipeInline(ITestOutputHelper output)
    : BadInputContract(TransportKind.MegaPipeInline, output);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "BadInput")]
public sealed class BadInputOnMegaPipeNoLwsocket(ITestOutputHelper output)
    : BadInputContract(TransportKind.MegaPipeNoLwsocket, output);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "BadInput")]
public sealed class BadInputOnMegaPipeLwsocketAlways(ITestOutputHelper output)
    : BadInputContract(TransportKind.MegaPipeLwsocketAlways, output);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "BadInput")]
public sealed class BadInputOnMegaPipeSmallBuffers(ITestOutputHelper output)
    : BadInputContract(TransportKind.MegaPipeSmallBuffers, output);

[Trait("Transport", "Sockets"), Trait("Area", "LostEnd")]
public sealed class LostEndOnSockets() : LostEndContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "LostEnd")]
public sealed class LostEndOnMegaPipe() : LostEndContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "LostEnd")]
public sealed class LostEndOnMegaPipeThreadPool() : LostEndContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "LostEnd")]
public sealed class LostEndOnMegaPipeInline() : LostEndContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "LostEnd")]
public sealed class LostEndOnMegaPipeNoLwsocket() : LostEndContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "LostEnd")]
public sealed class LostEndOnMegaPipeLwsocketAlways() : LostEndContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "LostEnd")]
public sealed class LostEndOnMegaPipeSmallBuffers() : LostEndContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "Sockets"), Trait("Area", "LateRead")]
public sealed class LateReadOnSockets() : LateReadContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "LateRead")]
public sealed class LateReadOnMegaPipe() : LateReadContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "LateRead")]
public sealed class LateReadOnMegaPipeThreadPool() : LateReadContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "LateRead")]
public sealed class LateReadOnMegaPipeInline() : LateReadContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "LateRead")]
public sealed class LateReadOnMegaPipeNoLwsocket() : LateReadContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "LateRead")]
public sealed class LateReadOnMegaPipeSmallBuffers() : LateReadContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "BadInput")]
public sealed class BadInputOnMegaPipeFallback(ITestOutputHelper output)
    : BadInputContract(TransportKind.MegaPipeFallback, output);

[Trait("Transport", "Sockets"), Trait("Area", "Starvation")]
public sealed class StarvationOnSockets() : StarvationContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "Starvation")]
public sealed class StarvationOnMegaPipe() : StarvationContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "Starvation")]
public sealed class StarvationOnMegaPipeThreadPool() : StarvationContract(TransportKind.MegaPipeThreadPool);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "Starvation")]
public sealed class StarvationOnMegaPipeInline() : StarvationContract(TransportKind.MegaPipeInline);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "Starvation")]
public sealed class StarvationOnMegaPipeNoLwsocket() : StarvationContract(TransportKind.MegaPipeNoLwsocket);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "Starvation")]
public sealed class StarvationOnMegaPipeLwsocketAlways() : StarvationContract(TransportKind.MegaPipeLwsocketAlways);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "Starvation")]
public sealed class StarvationOnMegaPipeSmallBuffers() : StarvationContract(TransportKind.MegaPipeSmallBuffers);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "Starvation")]
public sealed class StarvationOnMegaPipeFallback() : StarvationContract(TransportKind.MegaPipeFallback);

[Trait("Transport", "Sockets"), Trait("Area", "SuddenEnd")]
public sealed class SuddenEndOnSockets(ITestOutputHelper output)
    : SuddenEndContract(TransportKind.Sockets, output);

[Trait("Transport", "MegaPipe"), Trait("Area", "SuddenEnd")]
public sealed class SuddenEndOnMegaPipe(ITestOutputHelper output)
    : SuddenEndContract(TransportKind.MegaPipe, output);

[Trait("Transport", "MegaPipeThreadPool"), Trait("Area", "SuddenEnd")]
public sealed class SuddenEndOnMegaPipeThreadPool(ITestOutputHelper output)
    : SuddenEndContract(TransportKind.MegaPipeThreadPool, output);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "SuddenEnd")]
public sealed class SuddenEndOnMegaPipeInline(ITestOutputHelper output)
    : SuddenEndContract(TransportKind.MegaPipeInline, output);

[Trait("Transport", "MegaPipeNoLwsocket"), Trait("Area", "SuddenEnd")]
public sealed class SuddenEndOnMegaPipeNoLwsocket(ITestOutputHelper output)
    : SuddenEndContract(TransportKind.MegaPipeNoLwsocket, output);

[Trait("Transport", "MegaPipeLwsocketAlways"), Trait("Area", "SuddenEnd")]
public sealed class SuddenEndOnMegaPipeLwsocketAlways(ITestOutputHelper output)
    : SuddenEndContract(TransportKind.MegaPipeLwsocketAlways, output);

[Trait("Transport", "MegaPipeSmallBuffers"), Trait("Area", "SuddenEnd")]
public sealed class SuddenEndOnMegaPipeSmallBuffers(ITestOutputHelper output)
    : SuddenEndContract(TransportKind.MegaPipeSmallBuffers, output);

[Trait("Transport", "MegaPipeFallback"), Trait("Area", "SuddenEnd")]
public sealed class SuddenEndOnMegaPipeFallback(ITestOutputHelper output)
    : SuddenEndContract(TransportKind.MegaPipeFallback, output);
