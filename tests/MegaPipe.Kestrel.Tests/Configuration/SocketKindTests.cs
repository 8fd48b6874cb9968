// Which sockets an endpoint gets, from the option and what the kernel has.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Listening;

namespace MegaPipe.Kestrel.Tests.Configuration;

[Trait("Area", "Configuration")]
public sealed class SocketKindTests
{
    private static readonly EndPoint s_one = new IPEndPoint(IPAddress.Loopback, 80);
    private static readonly EndPoint s_unix = new UnixDomainSocketEndPoint("@socket-kind");
    private static readonly EndPoint s_any = new IPEndPoint(IPAddress.IPv6Any, 80);

    [Theory]
    [InlineData(LightweightSockets.Auto, true, true, true)]
    [InlineData(LightweightSockets.Auto, true, false, false)]
    [InlineData(LightweightSockets.Auto, false, true, false)]
    [InlineData(LightweightSockets.Always, true, true, true)]
    [InlineData(LightweightSockets.Always, true, false, true)]
    [InlineData(LightweightSockets.Always, false, false, false)]
    [InlineData(LightweightSockets.Never, true, true, false)]
    public void SocketKind_OneAddress_LightweightWhereTheKernelReleasesAtOnceOrTheUserAsks(
        LightweightSockets option, bool available, bool promptClose, bool expected)
    {
        Assert.Equal((expected, false), MegaPipeConnectionListener.SocketKind(s_one, option, available, promptClose));
        Assert.Equal((expected, false), MegaPipeConnectionListener.SocketKind(s_unix, option, available, promptClose));
    }

    [Theory]
    [InlineData(LightweightSockets.Auto, true, false)]
    [InlineData(LightweightSockets.Always, true, true)]
    [InlineData(LightweightSockets.Always, false, false)]
    [InlineData(LightweightSockets.Never, true, false)]
    public void SocketKind_Wildcard_OrdinarySocketsAskForTheirLocalAddress(
        LightweightSockets option, bool available, bool expected)
    {
        Assert.Equal(
            (expected, !expected), MegaPipeConnectionListener.SocketKind(s_any, option, available, promptClose: true));
    }
}
