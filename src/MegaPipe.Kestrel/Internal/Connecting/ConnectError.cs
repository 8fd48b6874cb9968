// Why there is no connection, for somebody who has to do something about it.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Connecting;

internal static class ConnectError
{
    /// <summary>The codes are those of the runtime's sockets; the text says more where more can be done.</summary>
    public static SocketException ToException(int error, EndPoint target, OutgoingContext context)
    {
        SocketError code = ChannelError.ToSocketError(error);
        string text = ChannelError.Text(error);
        if (code == SocketError.AddressNotAvailable && target is IPEndPoint)
        {
            (int low, int high) = SourcePorts.EphemeralRange();
            text += $": no source port from {low} to {high} (net.ipv4.ip_local_port_range) is free for this target, " +
                "or no address of this machine reaches it";
        }
        else if (error == ChannelError.TableFull)
        {
            text += ": no channel has room for another handle (MegaPipe:MaxHandlesPerChannel is " +
                $"{context.Options.MaxHandlesPerChannel}), or the system has none for another file";
        }
        else if (error == ChannelError.TooManyFiles)
        {
            text += ": the process may open no more files (ulimit -n)";
        }

        return new SocketException((int)code, $"{text} [{target}]");
    }
}
