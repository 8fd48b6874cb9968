// Listening sockets: bound as the stock transport binds them, with what accepted sockets are to inherit.
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>Whose a listening socket is. All but ours may be used before, beside and after this transport.</summary>
internal enum SocketOwner
{
    /// <summary>Made here: its options may be set, and other partitions may join it.</summary>
    Transport,

    /// <summary>From CreateBoundListenSocket: closed here, and no option of it is touched.</summary>
    Application,

    /// <summary>A handle: stays open, and so does its queue.</summary>
    Inherited,
}

/// <summary>An endpoint's first socket, bound and listening.</summary>
internal readonly record struct ListenSocket(Socket Socket, SocketOwner Owner)
{
    public bool IsOurs => Owner == SocketOwner.Transport;

    /// <summary>Others of its group, from a predecessor, in their order.</summary>
    public Socket[] More { get; init; } = [];

    /// <summary>Who else listens on the address; null: nobody may.</summary>
    public SharedAddress? Shared { get; init; }

    /// <summary>Whether another process has made it.</summary>
    public bool IsTaken { get; init; }
}

internal static class ListenSockets
{
    private const int SolSocket = 1;
    private const int SoReusePort = 15;
    private const int SoIncomingCpu = 49;
    private const int TcpInfo = 11;
    private const int TcpDeferAccept = 9;

    /// <summary>Of tcpi_unacked in struct tcp_info, which is a listener's accept queue.</summary>
    private const int AcceptQueueOffset = 24;

    /// <summary>
    /// The endpoint's first socket. Bound without SO_REUSEPORT, so that another process on the address is noticed; it
    /// is set after that where <paramref name="partitions"/> are more than one, so that they may join.
    /// </summary>
    public static ListenSocket Listen(EndPoint endPoint, MegaPipeTransportOptions options, int partitions)
    {
        Socket socket;
        try
        {
            socket = options.CreateBoundListenSocket?.Invoke(endPoint) ?? Bind(endPoint, options.ShareAddress);
        }
        catch (SocketException error) when (error.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            throw new AddressInUseException(error.Message, error);
        }

        try
        {
            SocketOwner owner = endPoint is FileHandleEndPoint ? SocketOwner.Inherited
                : options.CreateBoundListenSocket is null ? SocketOwner.Transport : SocketOwner.Application;
            ListenSocket listener = new(socket, owner)
            {
                Shared = owner == SocketOwner.Transport ? SharedAddress.Look(endPoint, options) : null,
            };
            Prepare(listener, socket, options, partitions);
            return listener;
        }
        catch (SocketException error) when (error.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            socket.Dispose();
            throw new AddressInUseException(error.Message, error);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>Sockets of a predecessor, as if they had been made here. They listen already.</summary>
    public static ListenSocket Adopt(ListenSocket listener, MegaPipeTransportOptions options, int partitions)
    {
        Prepare(listener, listener.Socket, options, partitions);
        foreach (Socket socket in listener.More)
        {
            Prepare(listener, socket, options, partitions);
        }

        return listener;
    }

    private static void Prepare(
        ListenSocket listener, Socket socket, MegaPipeTransportOptions options, int partitions)
    {
        if (listener.IsOurs && socket.AddressFamily != AddressFamily.Unix)
        {
            if (partitions > 1)
            {
                SetReusePort(socket);
            }

            socket.NoDelay = options.NoDelay;
            SetKeepAlive(socket, options);
            DeferAccept(socket, options);
        }

        socket.Listen(options.Backlog);
    }

    /// <summary>
    /// Whether sockets that this listener accepts lack what the options ask for: those of a listener that is not ours
    /// are set one by one, as the stock transport does.
    /// </summary>
    public static bool LeavesOptions(ListenSocket listener, MegaPipeTransportOptions options) =>
        !listener.IsOurs && listener.Socket.LocalEndPoint is IPEndPoint &&
        (options.KeepAlive || listener.Socket.NoDelay != options.NoDelay);

    /// <summary>Whether the kernel has connections for the socket that nobody has accepted.</summary>
    public static bool HasQueued(Socket socket) => socket.Poll(0, SelectMode.SelectRead);

    /// <summary>TCP connections that nobody has accepted yet; 0 where the kernel does not say.</summary>
    public static int QueueDepth(Socket socket)
    {
        Span<byte> info = stackalloc byte[AcceptQueueOffset + sizeof(int)];
        try
        {
            return socket.GetRawSocketOption((int)SocketOptionLevel.Tcp, TcpInfo, info) == info.Length
                ? MemoryMarshal.Read<int>(info[AcceptQueueOffset..]) : 0;
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
            return 0;
        }
    }

    /// <summary>
    /// Prefers connections whose packets this CPU receives (Linux 6.2 within a group; ignored before).
    /// </summary>
    public static void SteerTo(Socket socket, int cpu) =>
        socket.SetRawSocketOption(SolSocket, SoIncomingCpu, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in cpu)));

    /// <summary>A bound socket that does not listen yet.</summary>
    public static Socket Bind(EndPoint endPoint, bool shareAddress)
    {
        if (!shareAddress || endPoint is not IPEndPoint ip || !OperatingSystem.IsLinux())
        {
            return SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);
        }

        Socket socket = new(ip.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            if (ip.Address.Equals(IPAddress.IPv6Any))
            {
                socket.DualMode = true;
            }

            SetReusePort(socket);
            socket.Bind(ip);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    /// <summary>On a listener (Linux copies it to the sockets that it accepts) or on a connection.</summary>
    public static void SetKeepAlive(Socket socket, MegaPipeTransportOptions options)
    {
        if (!options.KeepAlive)
        {
            return;
        }

        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        Set(socket, SocketOptionName.TcpKeepAliveTime, (int?)options.KeepAliveTime?.TotalSeconds);
        Set(socket, SocketOptionName.TcpKeepAliveInterval, (int?)options.KeepAliveInterval?.TotalSeconds);
        Set(socket, SocketOptionName.TcpKeepAliveRetryCount, options.KeepAliveRetryCount);
    }

    /// <summary>
    /// What accepted sockets did not inherit. <paramref name="fd"/> stays its owner's. The peer may have gone already,
    /// which the connection's first read tells.
    /// </summary>
    public static void SetAccepted(int fd, MegaPipeTransportOptions options)
    {
        try
        {
            using Socket socket = new(new SafeSocketHandle(fd, ownsHandle: false));
            socket.NoDelay = options.NoDelay;
            SetKeepAlive(socket, options);
        }
        catch (SocketException)
        {
        }
    }

    /// <summary>On a listener. Its partitions get what it has (native/src/os_options.c).</summary>
    private static void DeferAccept(Socket socket, MegaPipeTransportOptions options)
    {
        if (options.DeferAccept is { } time)
        {
            int seconds = (int)time.TotalSeconds;
            socket.SetRawSocketOption(
                (int)SocketOptionLevel.Tcp, TcpDeferAccept, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in seconds)));
        }
    }

    private static void SetReusePort(Socket socket)
    {
        int on = 1;
        socket.SetRawSocketOption(SolSocket, SoReusePort, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in on)));
    }

    private static void Set(Socket socket, SocketOptionName name, int? value)
    {
        if (value is { } number)
        {
            socket.SetSocketOption(SocketOptionLevel.Tcp, name, number);
        }
    }
}
