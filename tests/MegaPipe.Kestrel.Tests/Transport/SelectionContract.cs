// Which endpoints a transport says it can bind, and what it does with others.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class SelectionContract(TransportKind kind)
{
    public static TheoryData<EndPoint> Known => new(
        new IPEndPoint(IPAddress.Loopback, 0),
        new IPEndPoint(IPAddress.IPv6Any, 0),
        new UnixDomainSocketEndPoint("/tmp/never-bound.sock"),
        new FileHandleEndPoint(3, FileHandleType.Auto));

    public static TheoryData<EndPoint> Unknown => new(
        new DnsEndPoint("localhost", 80),
        new OtherEndPoint());

    [Theory]
    [MemberData(nameof(Known), DisableDiscoveryEnumeration = true)]
    public async Task CanBind_KnownEndPointKind_True(EndPoint endPoint)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        Assert.True(Assert.IsAssignableFrom<IConnectionListenerFactorySelector>(harness.Factory).CanBind(endPoint));
    }

    [Theory]
    [MemberData(nameof(Unknown), DisableDiscoveryEnumeration = true)]
    public async Task CanBind_UnknownEndPointKind_False(EndPoint endPoint)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        Assert.False(Assert.IsAssignableFrom<IConnectionListenerFactorySelector>(harness.Factory).CanBind(endPoint));
    }

    [Fact]
    public async Task Bind_UnknownEndPointKind_Throws()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        await Assert.ThrowsAnyAsync<Exception>(async () => await harness.Factory.BindAsync(new OtherEndPoint()));
    }

    public sealed class OtherEndPoint : EndPoint
    {
        public override AddressFamily AddressFamily => AddressFamily.Unspecified;
    }
}
