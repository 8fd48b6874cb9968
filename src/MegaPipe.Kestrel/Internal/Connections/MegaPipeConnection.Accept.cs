// Stage accept: the connection joins its channel, accepted, connected or given.
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
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
        Channel.ConnectionCount++;
        Channel.AcceptedCount++;
        StartReceiving();
    }

    /// <summary>
    /// The carrier, when a connect has ended well: takes the handle over from who has made it. Reading starts in the
    /// same batch.
    /// </summary>
    public void StartConnected(IHandleOwner maker)
    {
        Channel.Replace(maker, this);
        Channel.ConnectionCount++;
        Channel.ConnectedCount++;
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
            Channel.ConnectionCount++;
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
