// struct sockaddr to EndPoint and back. Connections ask for it once each, so the path without a detour over
// System.Net.SocketAddress is worth having: it allocates the end point, its address and nothing else.
using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;

namespace MegaPipe.Native;

/// <summary>struct sockaddr to <see cref="EndPoint"/> and back.</summary>
internal static class SocketAddressCodec
{
    /// <summary>sizeof(struct sockaddr_storage): no address is larger.</summary>
    public const int MaxBytes = 128;

    private const int FamilyBytes = 2;
    private const int Ipv4Bytes = 16;
    private const int Ipv6Bytes = 28;

    private static readonly int s_unix = LibC.AF_UNIX;
    private static readonly int s_ipv4 = LibC.AF_INET;
    private static readonly int s_ipv6 = LibC.AF_INET6;

    /// <summary>What the runtime's sockets give for a Unix socket without a name, such as most clients.</summary>
    public static EndPoint UnnamedUnix { get; } =
        new UnixDomainSocketEndPoint("/").Create(new SocketAddress(AddressFamily.Unix, FamilyBytes));

    /// <summary>The end point; null for an empty address or an unknown family.</summary>
    public static EndPoint? Decode(ReadOnlySpan<byte> address)
    {
        if (address.Length < FamilyBytes)
        {
            return null;
        }

        int family = MemoryMarshal.Read<ushort>(address);
        if (family == s_ipv4 && address.Length >= Ipv4Bytes)
        {
            return new IPEndPoint(new IPAddress(address.Slice(4, 4)), Port(address));
        }

        if (family == s_ipv6 && address.Length >= Ipv6Bytes)
        {
            uint scope = MemoryMarshal.Read<uint>(address[24..]);
            return new IPEndPoint(new IPAddress(address.Slice(8, 16), scope), Port(address));
        }

        return family == s_unix ? DecodeUnix(address[FamilyBytes..]) : null;
    }

    /// <summary>Writes the address as the kernel takes it; the number of bytes.</summary>
    public static int Encode(EndPoint endPoint, Span<byte> address)
    {
        SocketAddress serialized = endPoint.Serialize();
        serialized.Buffer.Span[..serialized.Size].CopyTo(address);
        return serialized.Size;
    }

    private static int Port(ReadOnlySpan<byte> address) => BinaryPrimitives.ReadUInt16BigEndian(address[2..]);

    private static EndPoint DecodeUnix(ReadOnlySpan<byte> path)
    {
        if (path.IsEmpty)
        {
            return UnnamedUnix;
        }

        if (path[0] == 0)
        {
            // An abstract name: every byte counts, a zero too.
            return path.Length == 1 ? UnnamedUnix : new UnixDomainSocketEndPoint(Encoding.UTF8.GetString(path));
        }

        int end = path.IndexOf((byte)0);
        return new UnixDomainSocketEndPoint(Encoding.UTF8.GetString(end < 0 ? path : path[..end]));
    }
}
