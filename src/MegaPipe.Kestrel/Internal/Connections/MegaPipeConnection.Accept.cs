// Stage accept: the connection joins its channel.
using System.Net.Sockets;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Connections;

internal sealed partial class MegaPipeConnection
{
    // Connected by somebody else: closed with the handle, so that the peer gets its end. null for an accepted one.
    private readonly Socket? _given;

    /// <summary>The carrier, at the accept event: reading starts in the same batch.</summary>
    public void Start()
    {
        Channel.Add(this);
        Channel.AcceptedCount++;
        _counts.Accepted++;
        Count(1);
        StartReceiving();
    }

    /// <summary>The carrier: it joins or leaves.</summary>
    private void Count(int change)
    {
        Channel.ConnectionCount += change;
        _counts.Active += change;
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
            Count(1);
            StartReceiving();
            return true;
        }

        _closing = true;
        TrySetReason(
            ChannelError.ToException((int)handle, "Taking a connected socket"), abort: !_endpoint.FinOnError);
        EndSending();
        OnRetired();
        return false;
    }
}
