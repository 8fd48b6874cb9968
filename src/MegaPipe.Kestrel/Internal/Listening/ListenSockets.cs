// Listening sockets: bound as the stock transport binds them, with what accepted sockets are to inherit.
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;

namespace MegaPipe.Kestrel.Internal;

internal static class ListenSockets
{
    private const int SolSocket = 1;
    private const int SoReusePort = 15;
    private const int SoIncomingCpu = 49;

    /// <summary>
    /// The endpoint's first socket, bound and listening. Bound without SO_REUSEPORT, so that another process on the
    /// address is noticed; it is set after that, so that this process's partitions may join.
    /// </summary>
    public static Socket Listen(EndPoint endPoint, MegaPipeTransportOptions options)
    {
        Socket socket;
        try
        {
            socket = options.CreateBoundListenSocket?.Invoke(endPoint) ?? Bind(endPoint, options);
        }
        catch (SocketException error) when (error.SocketErrorCode == SocketError.AddressAlreadyInUse)
        {
            throw new AddressInUseException(error.Message, error);
        }

        try
        {
            if (socket.LocalEndPoint is IPEndPoint)
            {
                SetReusePort(socket);
                Inherit(socket, options);
            }

            socket.Listen(options.Backlog);
            return socket;
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

    /// <summary>Whether the kernel has connections for the socket that nobody has accepted.</summary>
    public static bool HasQueued(Socket socket) => socket.Poll(0, SelectMode.SelectRead);

    /// <summary>
    /// Prefers connections whose packets this CPU receives (Linux 6.2 within a group; ignored before).
    /// </summary>
    public static void SteerTo(Socket socket, int cpu) =>
        socket.SetRawSocketOption(SolSocket, SoIncomingCpu, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in cpu)));

    private static Socket Bind(EndPoint endPoint, MegaPipeTransportOptions options)
    {
        if (!options.ShareAddress || endPoint is not IPEndPoint ip)
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

    private static void SetReusePort(Socket socket)
    {
        int on = 1;
        socket.SetRawSocketOption(SolSocket, SoReusePort, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in on)));
    }

    /// <summary>What Linux copies from a listener to the sockets it accepts.</summary>
    private static void Inherit(Socket socket, MegaPipeTransportOptions options)
    {
        socket.NoDelay = options.NoDelay;
        if (!options.KeepAlive)
        {
            return;
        }

        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
        Set(socket, SocketOptionName.TcpKeepAliveTime, (int?)options.KeepAliveTime?.TotalSeconds);
        Set(socket, SocketOptionName.TcpKeepAliveInterval, (int?)options.KeepAliveInterval?.TotalSeconds);
        Set(socket, SocketOptionName.TcpKeepAliveRetryCount, options.KeepAliveRetryCount);
    }

    private static void Set(Socket socket, SocketOptionName name, int? value)
    {
        if (value is { } number)
        {
            socket.SetSocketOption(SocketOptionLevel.Tcp, name, number);
        }
    }
}
