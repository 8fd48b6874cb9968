// Receive Flow Deliver: the source port of an outgoing connection says which channel it lives on, so whoever steers the
// replies by their destination port brings them to that channel's CPU (Fastsocket, ASPLOS'16).
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Connecting;

/// <summary>
/// The ports p of the ephemeral range with p &amp; (2^⌈log2 n⌉ − 1) = channel, each channel's in turn.
/// </summary>
internal sealed class SourcePorts
{
    /// <summary>
    /// Ports of a channel that are tried for one connection. Where so many in a row are taken most of them are, and the
    /// kernel, which is asked last, knows a free one at once.
    /// </summary>
    public const int Tries = 32;

    private const int IpLocalPortRange = 51;
    private const string RangeFile = "/proc/sys/net/ipv4/ip_local_port_range";

    private readonly int _low;
    private readonly int _high;
    private readonly int _mask;
    private readonly uint[] _next;

    /// <param name="channels">How many there are.</param>
    /// <param name="low">The first port of the range.</param>
    /// <param name="high">The last one.</param>
    public SourcePorts(int channels, int low, int high)
    {
        _low = low;
        _high = high;
        _mask = (int)System.Numerics.BitOperations.RoundUpToPowerOf2((uint)channels) - 1;
        _next = new uint[channels];
        for (int i = 0; i < channels; i++)
        {
            // Two processes on one machine would otherwise meet at the same ports.
            _next[i] = (uint)Random.Shared.Next();
        }
    }

    /// <summary>What the options ask for; null: the kernel picks any port.</summary>
    public static SourcePorts? For(MegaPipeTransportOptions options, int channels)
    {
        if (options.SourcePorts != MegaPipeSourcePorts.PerChannel)
        {
            return null;
        }

        (int low, int high) = EphemeralRange();
        return new SourcePorts(channels, low, high);
    }

    /// <summary>The kernel's range; its default where it cannot be read.</summary>
    public static (int Low, int High) EphemeralRange()
    {
        try
        {
            string[] words = File.ReadAllText(RangeFile).Split(
                (char[]?)null, StringSplitOptions.RemoveEmptyEntries);
            return (int.Parse(words[0], null), int.Parse(words[1], null));
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or FormatException or
            IndexOutOfRangeException)
        {
            return (32768, 60999);
        }
    }

    /// <summary>The next port for a connection of this channel; 0 when its share of the range is empty.</summary>
    public int Next(int channel)
    {
        int first = _low + ((channel - _low) & _mask);
        int count = first > _high ? 0 : ((_high - first) / (_mask + 1)) + 1;
        return count == 0
            ? 0
            : first + ((int)(Interlocked.Increment(ref _next[channel]) % (uint)count) * (_mask + 1));
    }

    /// <summary>
    /// The carrier: has the connect that is about to go to the kernel use <paramref name="port"/>. A range of one port
    /// (IP_LOCAL_PORT_RANGE, Linux 6.3) leaves it to connect to see whether it is free for just this target; before
    /// that, binding asks for the port as such, so ports of other targets' connections are not to be had.
    /// </summary>
    public static void Set(TransportChannel channel, long handle, EndPoint target, int port)
    {
        if (channel.Native.SetOption(handle, 0, IpLocalPortRange, (port << 16) | port) < 0)
        {
            channel.Native.Bind(handle, new IPEndPoint(
                target.AddressFamily == AddressFamily.InterNetworkV6 ? IPAddress.IPv6Any : IPAddress.Any, port));
        }
    }
}
