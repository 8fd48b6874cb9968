// The channel's requests, in the order in which a connection meets them: accept, read, write, close. All fill the
// batch. System calls are made by Register, Connect and Transfer, and by the request that fills the batch.
using System.Net;
using Tmds.Linux;

namespace MegaPipe.Native;

/// <summary>How connections are accepted or connected.</summary>
[Flags]
internal enum AcceptFlags : uint
{
    None = 0,

    /// <summary>Sockets get no entry in the process's fd table.</summary>
    LwSocket = 1u << 0,

    /// <summary>Each accept is made again after its event, until an error or the end.</summary>
    Keep = 1u << 1,
}

/// <summary>Which directions <see cref="Channel.Disconnect"/> ends.</summary>
internal enum ShutDirection : uint
{
    Read = 0,
    Write = 1,
    Both = 2,
}

internal sealed unsafe partial class Channel
{
    /// <summary>
    /// Registers an fd that stays the caller's and must stay open until the handle is retired. A non-zero
    /// <paramref name="cpuMask"/> opens this channel's own listener partition of the fd's SO_REUSEPORT address instead,
    /// which queues <paramref name="backlog"/> connections. The handle, or a negative errno.
    /// </summary>
    public long Register(int fd, ulong cookie, ulong cpuMask = 0, int backlog = 0) =>
        NativeMethods.mp_register(Pointer, fd, cookie, cpuMask, (uint)backlog);

    /// <summary>
    /// As <see cref="Register"/> with a second descriptor for the fd's socket, which is the channel's and closed with
    /// the handle. The handle, or a negative errno.
    /// </summary>
    public long RegisterCopy(int fd, ulong cookie)
    {
        int copy = CopyFd(fd);
        if (copy < 0)
        {
            return copy;
        }

        long handle = Register(copy, cookie);
        if (handle < 0)
        {
            _ = LibC.close(copy);
        }

        return handle;
    }

    /// <summary>A second descriptor for what the fd stands for, which the caller owns; or a negative errno.</summary>
    public static int CopyFd(int fd)
    {
        int copy = LibC.fcntl(fd, LibC.F_DUPFD_CLOEXEC, 0);
        return copy < 0 ? -LibC.errno : copy;
    }

    /// <summary>Cancels what is pending and retires the handle; a registered fd stays open.</summary>
    public int Unregister(long handle) => Filled(NativeMethods.mp_unregister(Pointer, handle));

    /// <summary>Accepts <paramref name="count"/> (1 to 64) connections: one Accept event each.</summary>
    public int Accept(long listener, int count, AcceptFlags flags) =>
        Filled(NativeMethods.mp_accept(Pointer, listener, (uint)count, (uint)flags));

    /// <summary>Cancels the outstanding accepts; each ends with an event.</summary>
    public int AcceptStop(long listener) => Filled(NativeMethods.mp_accept_stop(Pointer, listener));

    /// <summary>
    /// Connects. Event: Accept with <see cref="EventFlags.Connected"/>. The handle, or a negative errno.
    /// </summary>
    public long Connect(EndPoint endPoint, ulong cookie, AcceptFlags flags = AcceptFlags.None)
    {
        Span<byte> address = stackalloc byte[SocketAddressCodec.MaxBytes];
        int bytes = SocketAddressCodec.Encode(endPoint, address);
        fixed (byte* first = address)
        {
            return NativeMethods.mp_connect(Pointer, first, (uint)bytes, cookie, (uint)flags);
        }
    }

    /// <summary>Replaces the cookie; events already in the kernel bring the new one.</summary>
    public int SetCookie(long handle, ulong cookie) => NativeMethods.mp_set_cookie(Pointer, handle, cookie);

    /// <summary>Reads once into memory that does not move and is the kernel's until the Read event.</summary>
    public int Read(long handle, nint address, int bytes) =>
        Filled(NativeMethods.mp_read(Pointer, handle, address, (uint)bytes));

    /// <summary>
    /// Reads what the socket holds into memory that does not move and is the kernel's until the Read event. It waits
    /// for no more: <see cref="ChannelError.TryAgain"/> where the socket holds nothing.
    /// </summary>
    public int ReadNow(long handle, nint address, int bytes) =>
        Filled(NativeMethods.mp_read_now(Pointer, handle, address, (uint)bytes));

    /// <summary>Starts a leased read that ends with its first piece of data.</summary>
    public int ReadOne(long handle) => Filled(NativeMethods.mp_read_one(Pointer, handle));

    /// <summary>Starts a leased read: a Read event with a lease for each piece of data.</summary>
    public int ReadStart(long handle) => Filled(NativeMethods.mp_read_start(Pointer, handle));

    /// <summary>Stops a leased read; its last event has <see cref="ChannelError.Canceled"/>, 0 or an error.</summary>
    public int ReadPause(long handle) => Filled(NativeMethods.mp_read_pause(Pointer, handle));

    /// <summary>The receive buffer of a lease. Any thread.</summary>
    public LeasedBuffer Buffer(uint lease) => _buffers[lease] ??=
        new LeasedBuffer(_memory, lease, _firstBuffer + ((nint)lease * _bufferBytes), _bufferBytes);

    /// <summary>The bytes that a leased Read event brought, until <see cref="Release"/>.</summary>
    public Memory<byte> LeaseMemory(in ChannelEvent leased) =>
        Buffer(leased.Lease).Slice(leased.Data, leased.Result);

    /// <summary>
    /// Gives a lease back; its memory must not be touched any more. Twice is misuse and ends the process.
    /// </summary>
    public int Release(uint lease) => NativeMethods.mp_release(Pointer, lease);

    /// <summary>Writes all bytes from memory that does not move and is the kernel's until the Write event.</summary>
    public int Write(long handle, nint address, int bytes) =>
        Filled(NativeMethods.mp_write(Pointer, handle, address, (uint)bytes));

    /// <summary>
    /// Writes the segments (1 to <see cref="IoVectorArray.MaxCount"/>, below 2 GiB) in order. The array and the
    /// segments are the kernel's until the Write event; the array's contents are lost.
    /// </summary>
    public int WriteVectors(long handle, nint vectors, int count) =>
        Filled(NativeMethods.mp_writev(Pointer, handle, vectors, (uint)count));

    /// <inheritdoc cref="WriteVectors(long, nint, int)"/>
    public int WriteVectors(long handle, IoVectorArray vectors) =>
        Filled(NativeMethods.mp_writev(Pointer, handle, vectors.Address, (uint)vectors.Count));

    /// <summary>
    /// As <see cref="WriteVectors(long, IoVectorArray)"/>, without a copy where the kernel can do without. After a
    /// Write event with <see cref="EventFlags.Held"/> the segments stay the kernel's until one with
    /// <see cref="EventFlags.Released"/>, whose data is <paramref name="memory"/>.
    /// </summary>
    public int WriteHeld(long handle, IoVectorArray vectors, ulong memory) =>
        Filled(NativeMethods.mp_write_held(Pointer, handle, vectors.Address, (uint)vectors.Count, memory));

    /// <summary>Shuts down without closing. Event: Close with <see cref="EventFlags.Disconnected"/>.</summary>
    public int Disconnect(long handle, ShutDirection direction) =>
        Filled(NativeMethods.mp_disconnect(Pointer, handle, (uint)direction));

    /// <summary>
    /// Closes: with FIN after what was written, or at once with RST. What is pending still brings its events; the last
    /// is Close with <see cref="EventFlags.Retired"/>.
    /// </summary>
    public int Close(long handle, bool abort = false) =>
        Filled(NativeMethods.mp_close(Pointer, handle, abort ? CloseAbort : 0));

    /// <summary>
    /// Gives a connection with nothing in flight to another channel, which must outlive the Close event with
    /// <see cref="EventFlags.Given"/>. There it arrives as an Accept event with <paramref name="cookie"/>.
    /// </summary>
    public int Transfer(long handle, Channel target, ulong cookie) =>
        NativeMethods.mp_transfer(Pointer, handle, target.Pointer, cookie);

    // MP_CLOSE_ABORT
    private const uint CloseAbort = 1u << 0;
}
