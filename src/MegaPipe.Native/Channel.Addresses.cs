// What can be asked about a handle: addresses and file descriptors. The calls of accepted connections' set-up, not of
// each operation.
using System.Net;
using Tmds.Linux;

namespace MegaPipe.Native;

internal sealed unsafe partial class Channel
{
    /// <summary>
    /// The peer's address, as accept or connect got it; no system call. Null for an unknown handle, and for a Unix peer
    /// without a name (<see cref="SocketAddressCodec.UnnamedUnix"/> is what the runtime's sockets give for it).
    /// </summary>
    public EndPoint? PeerEndPoint(long handle)
    {
        Span<byte> address = stackalloc byte[SocketAddressCodec.MaxBytes];
        int bytes = PeerAddress(handle, address);
        return bytes > 0 ? SocketAddressCodec.Decode(address[..bytes]) : null;
    }

    /// <summary>Copies the peer's struct sockaddr; its size, 0 when there is none, or a negative errno.</summary>
    public int PeerAddress(long handle, Span<byte> address)
    {
        fixed (byte* first = address)
        {
            return NativeMethods.mp_peer_address(Pointer, handle, first, (uint)address.Length);
        }
    }

    /// <summary>
    /// The local address, with a system call; a lightweight socket gets an fd for the moment. Null and a negative errno
    /// where it cannot be told: a lightweight socket on a kernel without <see cref="Feature.FdInstall"/>.
    /// </summary>
    public EndPoint? LocalEndPoint(long handle, out int error)
    {
        Span<byte> address = stackalloc byte[SocketAddressCodec.MaxBytes];
        fixed (byte* first = address)
        {
            error = NativeMethods.mp_local_address(Pointer, handle, first, SocketAddressCodec.MaxBytes);
        }

        return error > 0 ? SocketAddressCodec.Decode(address[..error]) : null;
    }

    /// <summary>
    /// Sets an option of the handle's socket, with a system call; a lightweight socket gets an fd for the moment.
    /// 0 or a negative errno.
    /// </summary>
    public int SetOption(long handle, int level, int name, int value) =>
        NativeMethods.mp_set_option(Pointer, handle, level, name, &value, sizeof(int));

    /// <summary>
    /// Binds an ordinary socket that is about to connect; another connection's address may be the same if its peer is
    /// another one's. 0 or a negative errno.
    /// </summary>
    public int Bind(long handle, EndPoint endPoint)
    {
        int fd = PeekFd(handle);
        if (fd < 0)
        {
            return fd;
        }

        SetOption(handle, LibC.SOL_SOCKET, LibC.SO_REUSEADDR, 1);
        Span<byte> address = stackalloc byte[SocketAddressCodec.MaxBytes];
        int bytes = SocketAddressCodec.Encode(endPoint, address);
        fixed (byte* first = address)
        {
            return LibC.bind(fd, (sockaddr*)first, (socklen_t)(uint)bytes) < 0 ? -LibC.errno : 0;
        }
    }

    /// <summary>
    /// Whether the CPU that the calling thread runs on has taken the last packet of an ordinary socket (as the kernel
    /// knows it: SO_INCOMING_CPU), and not another one. Null where that is not known.
    /// </summary>
    public bool? IsIncomingHere(long handle)
    {
        int fd = PeekFd(handle);
        int cpu = -1;
        socklen_t bytes = sizeof(int);
        return fd < 0 || LibC.getsockopt(fd, LibC.SOL_SOCKET, LibC.SO_INCOMING_CPU, &cpu, &bytes) < 0 || cpu < 0
            ? null
            : cpu == LibC.sched_getcpu();
    }

    /// <summary>A new fd for the handle's socket, which the caller owns and closes; or a negative errno.</summary>
    public int ToFd(long handle) => NativeMethods.mp_to_fd(Pointer, handle);

    /// <summary>
    /// The fd of a handle that is not a lightweight socket; the channel keeps it. Or a negative errno.
    /// </summary>
    public int PeekFd(long handle) => NativeMethods.mp_peek_fd(Pointer, handle);
}
