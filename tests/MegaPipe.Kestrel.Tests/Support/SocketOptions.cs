// What a socket's options are, all of them, and who else listens on its address.
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class SocketOptions
{
    /// <summary>SOL_SOCKET, IPPROTO_IP, IPPROTO_IPV6, IPPROTO_TCP.</summary>
    private static readonly int[] s_levels = [1, 0, 41, 6];

    /// <summary>
    /// Level and number of what is state and no option: SO_ERROR, SO_COOKIE, IP_PROTOCOL (the port), TCP_INFO,
    /// TCP_TIMESTAMP, and what takes arguments.
    /// </summary>
    private static readonly (int Level, int Name)[] s_states =
        [(1, 4), (1, 26), (1, 55), (1, 57), (0, 52), (6, 11), (6, 24), (6, 28), (6, 35), (6, 42)];

    /// <summary>Every value that the kernel gives, by level and number.</summary>
    public static Dictionary<string, string> ReadAll(Socket socket)
    {
        Dictionary<string, string> values = [];
        byte[] value = new byte[64];
        foreach (int level in s_levels)
        {
            for (int name = 1; name < 63; name++)
            {
                if (s_states.Contains((level, name)))
                {
                    continue;
                }

                try
                {
                    int bytes = socket.GetRawSocketOption(level, name, value);
                    values[$"{level}/{name}"] = Convert.ToHexString(value, 0, bytes);
                }
                catch (SocketException)
                {
                    // No such option.
                }
            }
        }

        return values;
    }

    /// <summary>Listening sockets on this IPv4 address and port, of any process.</summary>
    public static int CountListeners(IPEndPoint endPoint)
    {
        const string Listening = " 0A ";
        uint address = BitConverter.ToUInt32(endPoint.Address.GetAddressBytes());
        string local = string.Create(CultureInfo.InvariantCulture, $" {address:X8}:{endPoint.Port:X4} ");
        return File.ReadLines("/proc/net/tcp").Count(line =>
            line.Contains(local, StringComparison.Ordinal) && line.Contains(Listening, StringComparison.Ordinal));
    }
}
