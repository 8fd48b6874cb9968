// Raw client sockets: what a peer can do to a connection, byte by byte.
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace MegaPipe.Kestrel.Tests.Support;

/// <summary>Bytes the kernel took, and the send that it does not take.</summary>
internal sealed record BlockedSend(long Sent, Task<int> Pending);

internal static class Client
{
    private const int ReadChunk = 64 * 1024;
    private static readonly TimeSpan StillTime = TimeSpan.FromMilliseconds(200);

    public static Socket Create(EndPoint target) => target.AddressFamily switch
    {
        AddressFamily.Unix => new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified),
        AddressFamily family => new(family, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true },
    };

    public static async Task SendAllAsync(this Socket socket, ReadOnlyMemory<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            bytes = bytes[await socket.SendAsync(bytes).InTime()..];
        }
    }

    public static Task SendAllAsync(this Socket socket, string text) =>
        socket.SendAllAsync(Encoding.ASCII.GetBytes(text));

    public static async Task<byte[]> ReceiveExactlyAsync(this Socket socket, int count)
    {
        byte[] bytes = new byte[count];
        int filled = 0;
        while (filled < count)
        {
            int received = await socket.ReceiveAsync(bytes.AsMemory(filled)).InTime();
            Assert.True(received > 0, $"FIN after {filled} of {count} bytes");
            filled += received;
        }

        return bytes;
    }

    public static async Task<byte[]> ReceiveToEndAsync(this Socket socket)
    {
        using MemoryStream all = new();
        byte[] chunk = new byte[ReadChunk];
        while (true)
        {
            int received = await socket.ReceiveAsync(chunk).InTime();
            if (received == 0)
            {
                return all.ToArray();
            }

            all.Write(chunk, 0, received);
        }
    }

    /// <summary>Reads text until it contains the mark; fails on FIN before.</summary>
    public static async Task<string> ReceiveUntilAsync(this Socket socket, string mark)
    {
        StringBuilder text = new();
        byte[] chunk = new byte[ReadChunk];
        while (!text.ToString().Contains(mark, StringComparison.Ordinal))
        {
            int received = await socket.ReceiveAsync(chunk).InTime();
            Assert.True(received > 0, $"FIN before '{mark}', after: {text}");
            text.Append(Encoding.ASCII.GetString(chunk, 0, received));
        }

        return text.ToString();
    }

    /// <summary>Reads whatever comes and says how the connection ended: null for FIN, else the error.</summary>
    public static async Task<SocketError?> ReceiveEndAsync(this Socket socket)
    {
        byte[] chunk = new byte[ReadChunk];
        try
        {
            while (await socket.ReceiveAsync(chunk).InTime() > 0)
            {
            }

            return null;
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode;
        }
    }

    /// <summary>Closes so that the peer gets RST.</summary>
    public static void Reset(this Socket socket)
    {
        socket.LingerState = new LingerOption(true, 0);
        socket.Close();
    }

    /// <summary>Sends until the socket takes no more after the transport has paused, or the limit is reached.</summary>
    public static async Task<BlockedSend> SendUntilBlockedAsync(this Socket socket, long limit, Task paused)
    {
        byte[] chunk = new byte[ReadChunk];
        long sent = 0;
        Task<int> send = socket.SendAsync(chunk);
        while (sent < limit)
        {
            // While the transport has not paused a pending send only means that it is slow; once it has, the
            // kernel's buffers may still take bytes, so the end is when they have taken none for a while.
            Task first = await Task.WhenAny(send, paused).InTime();
            if (first != send && await Task.WhenAny(send, Task.Delay(StillTime)) != send)
            {
                return new(sent, send);
            }

            sent += await send;
            send = socket.SendAsync(chunk);
        }

        return new(sent, send);
    }

    /// <summary>
    /// How the peer ended a connection that has a send pending: the kernel reports its error only once.
    /// </summary>
    public static async Task<SocketError?> EndAsync(this Socket socket, BlockedSend blocked)
    {
        SocketError? received = await socket.ReceiveEndAsync();
        try
        {
            await blocked.Pending.InTime();
            return received;
        }
        catch (SocketException e)
        {
            return received ?? e.SocketErrorCode;
        }
    }

    /// <summary>Bytes that differ along their position, so that loss, doubling and reordering show.</summary>
    public static byte[] Pattern(int count, int seed = 0)
    {
        byte[] bytes = new byte[count];
        uint state = (uint)seed * 2654435761u + 12345u;
        for (int i = 0; i < count; i++)
        {
            state = (state * 1664525u) + 1013904223u;
            bytes[i] = (byte)(state >> 24);
        }

        return bytes;
    }
}
