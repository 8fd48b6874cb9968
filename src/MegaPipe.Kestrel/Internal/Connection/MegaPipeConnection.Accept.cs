// Stage accept: the connection joins its channel, and its socket for those who ask for one.
using System.Net.Sockets;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal;

internal sealed partial class MegaPipeConnection
{
    private readonly Lock _socketSync = new();
    private TaskCompletionSource<int>? _install;
    private Socket? _socket;

    // Connected by somebody else: closed with the handle, so that the peer gets its end. null for an accepted one.
    private readonly Socket? _given;

    /// <summary>The carrier, at the accept event: reading starts in the same batch.</summary>
    public void Start()
    {
        Channel.Add(this);
        Channel.AcceptedCount++;
        StartReceiving();
    }

    /// <summary>
    /// The carrier: a socket that was given. false when it cannot be taken, and the connection has ended.
    /// </summary>
    private bool Join()
    {
        long handle;
        try
        {
            handle = Channel.Native.RegisterCopy((int)_given!.SafeHandle.DangerousGetHandle(), 0);
        }
        catch (ObjectDisposedException)
        {
            handle = ChannelError.BadHandle;
        }

        if (handle >= 0)
        {
            Handle = handle;
            Channel.Add(this);
            StartReceiving();
            return true;
        }

        _closing = true;
        TrySetReason(ChannelError.ToException((int)handle, "Taking a connected socket"));
        EndSending();
        OnRetired();
        return false;
    }

    /// <summary>
    /// A real socket on the same connection, made on first use. Waits for the carrier unless this thread is it; the
    /// socket is closed with the connection.
    /// </summary>
    private Socket GetSocket()
    {
        lock (_socketSync)
        {
            if (_socket is not null)
            {
                return _socket;
            }

            int fd;
            if (Channel.TryEnterRing())
            {
                fd = _retired ? ChannelError.BadHandle : Channel.Native.ToFd(Handle);
                Channel.LeaveRing();
            }
            else
            {
                _install = new TaskCompletionSource<int>(TaskCreationOptions.RunContinuationsAsynchronously);
                Ask(ConnectionAsks.Install);
                fd = _install.Task.GetAwaiter().GetResult();
                _install = null;
            }

            if (fd < 0)
            {
                throw fd == ChannelError.BadHandle
                    ? new ObjectDisposedException(nameof(Socket), "The connection is closed.")
                    : ChannelError.ToException(fd,
                        "Making a socket for a lightweight socket (set MegaPipe:LightweightSockets to Never)");
            }

            return _socket = new Socket(new SafeSocketHandle(fd, ownsHandle: true));
        }
    }

    private void PerformInstall()
    {
        _install?.TrySetResult(_retired ? ChannelError.BadHandle : Channel.Native.ToFd(Handle));
    }
}
