// What the kernel tells of a port's sockets (sock_diag over netlink): no system call on a listener says how many
// handshakes it has begun.
using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Tmds.Linux;

namespace MegaPipe.Native;

/// <summary>Counts sockets of this network namespace. Needs no privilege; a sandbox may deny netlink.</summary>
internal static unsafe class SocketDiagnostics
{
    private const int NetlinkFamily = 16;  // AF_NETLINK
    private const int SockDiag = 4;        // NETLINK_SOCK_DIAG
    private const ushort ByFamily = 20;    // SOCK_DIAG_BY_FAMILY
    private const ushort DumpRequest = 0x301; // NLM_F_REQUEST, NLM_F_ROOT, NLM_F_MATCH
    private const ushort ErrorMessage = 2; // NLMSG_ERROR
    private const ushort DoneMessage = 3;  // NLMSG_DONE
    private const byte Tcp = 6;
    private const uint SynReceived = 1u << 3;
    private const uint Listening = 1u << 10;

    // Of struct inet_diag_msg, behind the header.
    private const int SourceAt = 8;
    private const int CookieAt = 44;
    private const int HeaderBytes = 16;
    private const int RequestBytes = HeaderBytes + 56; // struct inet_diag_req_v2
    private const int AnswerBytes = 32 * 1024;         // what the kernel fills at a time at most
    private const byte InetFamily = 2;
    private const byte Inet6Family = 10;

    /// <summary>
    /// TCP handshakes that the listeners of an address's port have answered and that have not ended. The port's, also
    /// those of other addresses. Negative where the kernel does not say.
    /// </summary>
    public static int CountHandshakes(IPEndPoint endPoint)
    {
        int count = 0;
        int error = Dump(endPoint, SynReceived, _ => count++);
        return error < 0 ? error : count;
    }

    /// <summary>
    /// The cookies (SO_COOKIE) of the sockets that listen on exactly this address, of every process. 0, or a negative
    /// errno where the kernel does not say.
    /// </summary>
    public static int FindListeners(IPEndPoint endPoint, List<ulong> cookies)
    {
        byte[] address = endPoint.Address.GetAddressBytes();
        return Dump(endPoint, Listening, socket =>
        {
            if (socket[SourceAt..].StartsWith(address))
            {
                cookies.Add(MemoryMarshal.Read<ulong>(socket[CookieAt..]));
            }
        });
    }

    private static int Dump(IPEndPoint endPoint, uint states, Action<ReadOnlySpan<byte>> each)
    {
        int fd = LibC.socket(NetlinkFamily, LibC.SOCK_RAW | LibC.SOCK_CLOEXEC, SockDiag);
        if (fd < 0)
        {
            return -LibC.errno;
        }

        try
        {
            return Ask(fd, endPoint, states, each);
        }
        finally
        {
            _ = LibC.close(fd);
        }
    }

    private static int Ask(int fd, IPEndPoint endPoint, uint states, Action<ReadOnlySpan<byte>> each)
    {
        Span<byte> request = stackalloc byte[RequestBytes];
        request.Clear();
        MemoryMarshal.Write(request, RequestBytes);
        MemoryMarshal.Write(request[4..], ByFamily);
        MemoryMarshal.Write(request[6..], DumpRequest);
        Span<byte> question = request[HeaderBytes..];
        question[0] = endPoint.AddressFamily == AddressFamily.InterNetworkV6 ? Inet6Family : InetFamily;
        question[1] = Tcp;
        MemoryMarshal.Write(question[4..], states);
        BinaryPrimitives.WriteUInt16BigEndian(question[8..], (ushort)endPoint.Port);
        fixed (byte* first = request)
        {
            if (LibC.send(fd, first, RequestBytes, 0) != RequestBytes)
            {
                return -LibC.errno;
            }
        }

        byte[] answer = new byte[AnswerBytes];
        while (true) // ends with the message that says so: the kernel walks its table once
        {
            int bytes;
            fixed (byte* first = answer)
            {
                bytes = (int)LibC.recv(fd, first, AnswerBytes, 0);
            }

            if (bytes < 0 && LibC.errno == LibC.EINTR)
            {
                continue;
            }

            if (bytes <= 0)
            {
                return bytes < 0 ? -LibC.errno : ChannelError.InvalidArgument;
            }

            if (TakeMessages(answer.AsSpan(0, bytes), each) is { } result)
            {
                return result;
            }
        }
    }

    /// <summary>The sockets of one answer. The result when the last message is among them.</summary>
    private static int? TakeMessages(ReadOnlySpan<byte> messages, Action<ReadOnlySpan<byte>> each)
    {
        while (messages.Length >= HeaderBytes)
        {
            int bytes = MemoryMarshal.Read<int>(messages);
            switch (MemoryMarshal.Read<ushort>(messages[4..]))
            {
                case DoneMessage:
                    return 0;
                case ErrorMessage:
                    return MemoryMarshal.Read<int>(messages[HeaderBytes..]);
            }

            if (bytes < HeaderBytes || bytes > messages.Length)
            {
                return ChannelError.InvalidArgument;
            }

            each(messages[HeaderBytes..bytes]);

            int aligned = (bytes + 3) & ~3;
            messages = aligned >= messages.Length ? [] : messages[aligned..];
        }

        return null;
    }
}
