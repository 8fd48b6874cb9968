// The connection's socket, for those who ask for one: a second descriptor of the same connection.
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Connections;

internal sealed partial class MegaPipeConnection
{
    /// <summary>How long a carrier waits for another one before it looks after its own channel.</summary>
    private static readonly TimeSpan s_lookAfterOwn = TimeSpan.FromMilliseconds(1);

    private TaskCompletionSource<Socket>? _install;

    // Set once, by the thread that may enter the ring.
    private Socket? _socket;

    /// <summary>
    /// A real socket on the same connection, made on first use; a disposed one once the connection is closed. Waits for
    /// the carrier unless this thread is it, without a lock: who waits keeps nobody else from going on.
    /// </summary>
    private Socket GetSocket()
    {
        if (Volatile.Read(ref _socket) is { } made)
        {
            return made;
        }

        TransportChannel channel = Channel;
        if (channel.TryEnterRing())
        {
            try
            {
                if (IsOn(channel))
                {
                    return MakeSocket();
                }
            }
            finally
            {
                channel.LeaveRing();
            }
        }

        TaskCompletionSource<Socket> mine = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource<Socket> install = Interlocked.CompareExchange(ref _install, mine, null) ?? mine;
        Ask(ConnectionAsks.Install);
        Channel.Wake(); // the pool's thread that would wake the carrier may be this one
        while (Carried.OfThisThread is not null && Task.WaitAny([install.Task], s_lookAfterOwn) < 0)
        {
            Carried.PerformOwnWork();
        }

        return install.Task.GetAwaiter().GetResult();
    }

    private void PerformInstall()
    {
        if (Interlocked.Exchange(ref _install, null) is not { } install)
        {
            return; // done with somebody else's
        }

        try
        {
            install.SetResult(MakeSocket());
        }
        catch (Exception error)
        {
            install.SetException(error);
        }
    }

    /// <summary>For the thread that may enter the ring; after retirement for any thread.</summary>
    private Socket MakeSocket()
    {
        if (_socket is not null)
        {
            return _socket;
        }

        int fd = _retired || _closing ? ChannelError.BadHandle : Channel.Native.ToFd(Handle);
        if (fd < 0 && fd != ChannelError.BadHandle)
        {
            throw ChannelError.ToException(fd,
                "Making a socket for a lightweight socket (set MegaPipe:LightweightSockets to Never)");
        }

        Socket socket = fd < 0
            ? DisposedSocket()
            : new ConnectionSocket(this, new SafeSocketHandle(fd, ownsHandle: true));
        Volatile.Write(ref _socket, socket);
        return socket;
    }

    /// <summary>What is left of a closed connection's socket: every use says that it is disposed.</summary>
    private Socket DisposedSocket()
    {
        Socket socket = _endpoint.EndPoint.AddressFamily == AddressFamily.Unix
            ? new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified)
            : new(SocketType.Stream, ProtocolType.Tcp);
        socket.Dispose();
        return socket;
    }

    /// <summary>The carrier, closing: the second descriptor must not keep the connection open.</summary>
    private void EndSocket(bool abort)
    {
        if (_socket is null)
        {
            return;
        }

        if (!abort)
        {
            Channel.Native.Disconnect(Handle, ShutDirection.Both); // FIN, also where somebody else has a descriptor
        }

        // Waits for calls that the application has in it.
        ThreadPool.UnsafeQueueUserWorkItem(static socket => socket.Dispose(), _socket, preferLocal: false);
    }

    /// <summary>
    /// Any thread: the application has disposed the socket. The runtime then resets a connection on which it waits for
    /// something, unless its sending side was shut down, and a transport that receives always waits.
    /// </summary>
    private void OnSocketDisposed(bool abort)
    {
        SocketException reason = new((int)SocketError.OperationAborted);
        if (TrySetReason(reason, abort))
        {
            TransportLog.ConnectionError(Logger, this, reason);
            Ask(abort ? ConnectionAsks.Reset : ConnectionAsks.Close);
        }
    }

    /// <summary>Tells the connection when the application disposes it.</summary>
    private sealed class ConnectionSocket(MegaPipeConnection connection, SafeSocketHandle handle) : Socket(handle)
    {
        private const int TcpInfo = 11;

        // enum tcp_state: nothing was shut down on this side.
        private const byte Established = 1;
        private const byte CloseWait = 8;

        protected override void Dispose(bool disposing)
        {
            bool ends = disposing && connection._shutdownReason is null;
            bool abort = ends && IsAbortive();
            base.Dispose(disposing);
            if (ends)
            {
                connection.OnSocketDisposed(abort);
            }
        }

        private bool IsAbortive()
        {
            try
            {
                if (AddressFamily == AddressFamily.Unix)
                {
                    return false;
                }

                Span<byte> state = stackalloc byte[1];
                GetRawSocketOption((int)SocketOptionLevel.Tcp, TcpInfo, state);
                return LingerState is { Enabled: true, LingerTime: 0 } ||
                    (state[0] is Established && connection._input.Pressure.Flow == ReadFlow.Flowing) ||
                    (state[0] is Established or CloseWait && connection._sending);
            }
            catch (SocketException)
            {
                return true; // reset by the peer, or never connected
            }
        }
    }
}
