// What blocking clients need beyond Socket.
using System.Net.Sockets;

namespace MegaPipe.Native.Tests.Support;

internal static class SocketExtensions
{
    public static byte[] ReceiveExactly(this Socket socket, int bytes)
    {
        byte[] all = new byte[bytes];
        for (int at = 0; at < bytes;)
        {
            int count = socket.Receive(all.AsSpan(at));
            Assert.True(count > 0, $"the stream ended after {at} of {bytes} bytes");
            at += count;
        }

        return all;
    }

    /// <summary>Bytes that tell where in the stream they belong.</summary>
    public static byte[] Pattern(int bytes)
    {
        byte[] pattern = GC.AllocateUninitializedArray<byte>(bytes, pinned: true);
        for (int i = 0; i < bytes; i++)
        {
            pattern[i] = (byte)(i ^ (i >> 8) ^ (i >> 16));
        }

        return pattern;
    }
}
