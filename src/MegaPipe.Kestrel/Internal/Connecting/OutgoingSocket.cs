// The socket of an outgoing connection: which kind it is, and its options.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Connecting;

/// <summary>For the carrier.</summary>
internal static class OutgoingSocket
{
    private const int SolSocket = 1;
    private const int SoKeepAlive = 9;
    private const int Tcp = 6;
    private const int TcpNoDelay = 1;
    private const int TcpKeepAliveTime = 4;
    private const int TcpKeepAliveInterval = 5;
    private const int TcpKeepAliveCount = 6;

    /// <summary>
    /// Asks for a connection; the connect goes to the kernel with the next batch, so until this returns the socket can
    /// be prepared. The handle, or a negative errno.
    /// </summary>
    public static long Connect(TransportChannel channel, OutgoingContext context, EndPoint target, int sourcePort)
    {
        bool lightweight = sourcePort == 0 && IsLightweight(context.Options, target);
        long handle = channel.Native.Connect(
            target, 0, lightweight ? AcceptFlags.LwSocket : AcceptFlags.None);
        if (handle == ChannelError.TableFull && lightweight)
        {
            lightweight = false; // their table is the smaller one where RLIMIT_NOFILE is
            handle = channel.Native.Connect(target, 0);
        }

        if (handle < 0 || lightweight)
        {
            return handle;
        }

        SetOptions(channel, context.Options, handle, target);
        if (sourcePort != 0)
        {
            SourcePorts.Set(channel, handle, target, sourcePort);
        }

        return handle;
    }

    /// <summary>
    /// What could not be set before: a lightweight socket is not there before the kernel has begun with the request.
    /// </summary>
    public static void Finish(TransportChannel channel, OutgoingContext context, long handle, EndPoint target)
    {
        if (context.Ports is not null)
        {
            CountAnswer(channel, handle);
        }

        if (channel.Native.PeekFd(handle) < 0)
        {
            SetOptions(channel, context.Options, handle, target);
        }
    }

    /// <summary>
    /// Whether the source port has done what it is for, by the one packet that every connection gets: the answer to its
    /// connect. Once for each, since it costs a system call; later packets take the same way.
    /// </summary>
    private static void CountAnswer(TransportChannel channel, long handle)
    {
        switch (channel.Native.IsIncomingHere(handle))
        {
            case true:
                channel.AnswersHereCount++;
                break;
            case false:
                channel.AnswersElsewhereCount++;
                break;
        }
    }

    /// <summary>A local address and options are needed of each, and both take an fd for the moment.</summary>
    private static bool IsLightweight(MegaPipeTransportOptions options, EndPoint target) =>
        MegaPipeFeatures.Has(Feature.LwSocket) && options.LightweightSockets switch
        {
            LightweightSockets.Always => MegaPipeFeatures.Has(Feature.FdInstall) || !options.NoDelay,
            LightweightSockets.Auto => MegaPipeFeatures.Has(Feature.PromptClose) &&
                MegaPipeFeatures.Has(Feature.FdInstall) &&
                (options.DegradedMode & ChannelConfigFlags.NoFdInstall) == 0,
            _ => false,
        };

    private static void SetOptions(
        TransportChannel channel, MegaPipeTransportOptions options, long handle, EndPoint target)
    {
        if (target.AddressFamily == AddressFamily.Unix)
        {
            return;
        }

        // What one of these answers is no reason to have no connection: its first read says what has become of it.
        if (options.NoDelay)
        {
            channel.Native.SetOption(handle, Tcp, TcpNoDelay, 1);
        }

        if (options.KeepAlive)
        {
            channel.Native.SetOption(handle, SolSocket, SoKeepAlive, 1);
            Set(TcpKeepAliveTime, (int?)options.KeepAliveTime?.TotalSeconds);
            Set(TcpKeepAliveInterval, (int?)options.KeepAliveInterval?.TotalSeconds);
            Set(TcpKeepAliveCount, options.KeepAliveRetryCount);
        }

        void Set(int name, int? value)
        {
            if (value is { } number)
            {
                channel.Native.SetOption(handle, Tcp, name, number);
            }
        }
    }
}
