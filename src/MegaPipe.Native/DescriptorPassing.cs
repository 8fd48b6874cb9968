// Descriptors from process to process, over a Unix socket (SCM_RIGHTS).
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;

namespace MegaPipe.Native;

/// <summary>One message of a sequenced-packet socket, with or without descriptors.</summary>
internal static unsafe class DescriptorPassing
{
    /// <summary>Of one message; the kernel takes 253.</summary>
    public const int MaxDescriptors = 128;

    /// <summary>Bytes of one message.</summary>
    public const int MaxBytes = 4_096;

    private const int SolSocket = 1;
    private const int Rights = 1;             // SCM_RIGHTS
    private const int PeerCredentials = 17;   // SO_PEERCRED
    private const int NoSignal = 0x4000;      // MSG_NOSIGNAL
    private const int CloseOnExec = 0x40000000; // MSG_CMSG_CLOEXEC
    private const int ControlTruncated = 8;   // MSG_CTRUNC

    /// <summary>Whether the process at the other end is of this user, or of root.</summary>
    public static bool IsPeerTrusted(Socket socket)
    {
        Span<byte> credentials = stackalloc byte[12]; // struct ucred: process, user, group
        return socket.GetRawSocketOption(SolSocket, PeerCredentials, credentials) == credentials.Length &&
            MemoryMarshal.Read<uint>(credentials[4..]) is var user && (user == 0 || user == LibC.geteuid());
    }

    /// <summary>A second descriptor for the same file, which is the caller's. A negative errno.</summary>
    public static int Duplicate(int fd)
    {
        int copy = LibC.fcntl(fd, LibC.F_DUPFD_CLOEXEC, 0);
        return copy < 0 ? -LibC.errno : copy;
    }

    /// <summary>Whether there is a file of a Unix socket. Links are not followed.</summary>
    public static bool IsSocketFile(string path)
    {
        stat status;
        fixed (byte* name = Encoding.UTF8.GetBytes(path + '\0'))
        {
            return LibC.lstat(name, &status) == 0 && LibC.S_ISSOCK(status.st_mode);
        }
    }

    public static void Close(int fd) => _ = LibC.close(fd);

    /// <summary>The descriptors stay the caller's. 0 or a negative errno.</summary>
    public static int Send(Socket socket, ReadOnlySpan<byte> text, ReadOnlySpan<int> fds)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(text.Length, MaxBytes);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(fds.Length, MaxDescriptors);
        byte* control = stackalloc byte[sizeof(ControlHeader) + (MaxDescriptors * sizeof(int))];
        fixed (byte* first = text)
        {
            Vector vector = new() { Base = first, Length = (nuint)text.Length };
            Message message = new() { Vectors = &vector, VectorCount = 1 };
            if (fds.Length > 0)
            {
                ControlHeader* header = (ControlHeader*)control;
                *header = new() { Bytes = ControlBytes(fds.Length), Level = SolSocket, Type = Rights };
                fds.CopyTo(new Span<int>(control + sizeof(ControlHeader), fds.Length));
                message.Control = control;
                message.ControlBytes = (header->Bytes + 7) & ~(nuint)7;
            }

            return (int)LibC.sendmsg(Descriptor(socket), (msghdr*)&message, NoSignal) < 0 ? -LibC.errno : 0;
        }
    }

    /// <summary>
    /// Waits for a message as long as the socket's timeout says. The descriptors are the caller's. Its bytes, 0 when
    /// the peer has gone, or a negative errno.
    /// </summary>
    public static int Receive(Socket socket, Span<byte> text, List<int> fds)
    {
        byte* control = stackalloc byte[sizeof(ControlHeader) + (MaxDescriptors * sizeof(int))];
        Message message;
        int bytes;
        fixed (byte* first = text)
        {
            Vector vector = new() { Base = first, Length = (nuint)text.Length };
            message = new()
            {
                Vectors = &vector,
                VectorCount = 1,
                Control = control,
                ControlBytes = (nuint)(sizeof(ControlHeader) + (MaxDescriptors * sizeof(int))),
            };
            do
            {
                bytes = (int)LibC.recvmsg(Descriptor(socket), (msghdr*)&message, CloseOnExec);
            }
            while (bytes < 0 && LibC.errno == LibC.EINTR);
        }

        if (bytes < 0)
        {
            return -LibC.errno;
        }

        ControlHeader* header = (ControlHeader*)control;
        if (message.ControlBytes >= (nuint)sizeof(ControlHeader) && header->Level == SolSocket &&
            header->Type == Rights)
        {
            int count = (int)(header->Bytes - (nuint)sizeof(ControlHeader)) / sizeof(int);
            fds.AddRange(new ReadOnlySpan<int>(control + sizeof(ControlHeader), count));
        }

        return (message.Flags & ControlTruncated) != 0 ? ChannelError.TooManyFiles : bytes;
    }

    private static int Descriptor(Socket socket) => (int)socket.SafeHandle.DangerousGetHandle();

    private static nuint ControlBytes(int fds) => (nuint)(sizeof(ControlHeader) + (fds * sizeof(int)));

    /// <summary>struct iovec.</summary>
    private struct Vector
    {
        public byte* Base;
        public nuint Length;
    }

    /// <summary>struct msghdr of 64-bit Linux.</summary>
    private struct Message
    {
        public void* Name;
        public uint NameBytes;
        public Vector* Vectors;
        public nuint VectorCount;
        public void* Control;
        public nuint ControlBytes;
        public int Flags;
    }

    /// <summary>struct cmsghdr.</summary>
    private struct ControlHeader
    {
        public nuint Bytes;
        public int Level;
        public int Type;
    }
}
