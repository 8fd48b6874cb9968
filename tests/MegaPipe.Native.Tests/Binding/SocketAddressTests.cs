// End points to struct sockaddr and back.
using System.Net;
using System.Net.Sockets;

namespace MegaPipe.Native.Tests.Binding;

public sealed class SocketAddressTests
{
    public static TheoryData<string, int> IpAddresses => new()
    {
        { "127.0.0.1", 80 },
        { "203.0.113.9", 65535 },
        { "::1", 1 },
        { "fe80::1%3", 443 },
        { "::ffff:192.0.2.1", 8080 },
        { "2001:db8:1:2:3:4:5:6", 0 },
    };

    [Theory]
    [MemberData(nameof(IpAddresses))]
    public void Decode_OfAnEncodedIpEndPoint_IsEqual(string address, int port)
    {
        IPEndPoint endPoint = new(IPAddress.Parse(address), port);

        Assert.Equal(endPoint, RoundTrip(endPoint));
    }

    [Theory]
    [InlineData("/tmp/mp.sock")]
    [InlineData("\0abstract")]
    [InlineData("/tmp/ünïcode")]
    public void Decode_OfAnEncodedUnixEndPoint_HasTheSamePath(string path)
    {
        UnixDomainSocketEndPoint endPoint = new(path);

        EndPoint? decoded = RoundTrip(endPoint);

        Assert.IsType<UnixDomainSocketEndPoint>(decoded);
        Assert.Equal(endPoint.ToString(), decoded.ToString());
    }

    [Fact]
    public void Decode_OfAUnixSocketWithoutName_IsTheUnnamedEndPoint()
    {
        Assert.Same(SocketAddressCodec.UnnamedUnix, SocketAddressCodec.Decode([1, 0]));
        Assert.Same(SocketAddressCodec.UnnamedUnix, SocketAddressCodec.Decode([1, 0, 0]));
        Assert.Equal("", SocketAddressCodec.UnnamedUnix.ToString());
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(15)]
    public void Decode_OfATruncatedAddress_IsNull(int bytes)
    {
        Span<byte> address = stackalloc byte[SocketAddressCodec.MaxBytes];
        SocketAddressCodec.Encode(new IPEndPoint(IPAddress.Loopback, 80), address);

        Assert.Null(SocketAddressCodec.Decode(address[..bytes]));
    }

    [Fact]
    public void Decode_OfAnUnknownFamily_IsNull()
    {
        Assert.Null(SocketAddressCodec.Decode(new byte[] { 99, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }));
    }

    private static EndPoint? RoundTrip(EndPoint endPoint)
    {
        Span<byte> address = stackalloc byte[SocketAddressCodec.MaxBytes];
        return SocketAddressCodec.Decode(address[..SocketAddressCodec.Encode(endPoint, address)]);
    }
}
