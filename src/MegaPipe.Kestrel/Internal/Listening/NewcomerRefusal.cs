// A listener that is about to end begins no handshake, and ends those that it has begun.
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>
/// Closing a listener resets who is in its queue and whose handshake it has begun, and under load there always is
/// somebody. So the door is shut first and the listener closed when nobody is left behind it.
/// </summary>
internal static class NewcomerRefusal
{
    private const int SolSocket = 1;
    private const int SoBindToIfIndex = 62;

    /// <summary>No device has this number.</summary>
    private const int NoDevice = int.MaxValue;

    private const int TcpFlags = 13; // their offset in a TCP header
    private const int SynAndAck = 0x12;
    private const int Syn = 0x02;

    /// <summary>
    /// Refuses who begins to connect from now on, while handshakes that have begun go on and join the queue. Not to be
    /// undone: for the transport's own sockets only. <paramref name="shared"/>: others listen on the address, too.
    /// </summary>
    /// <remarks>
    /// TCP: a listener that is bound to a device is not found by packets that come from another one, so their senders
    /// are refused at once; a handshake's last packet finds its listener by the handshake. Where a device is set
    /// already, and where others share the address (their program or hash picks this listener however it is bound),
    /// first packets are dropped instead, which their senders repeat after a second. Unix: a listener that has shut
    /// down receiving refuses.
    /// </remarks>
    public static bool TryShut(Socket listener, EndPoint endPoint, bool shared)
    {
        if (endPoint is not IPEndPoint)
        {
            try
            {
                listener.Shutdown(SocketShutdown.Receive);
                return true;
            }
            catch (SocketException)
            {
                return false;
            }
        }

        return (!shared && TryBindToNoDevice(listener)) || TryDropSyns(listener);
    }

    private static bool TryBindToNoDevice(Socket listener)
    {
        try
        {
            int device = NoDevice;
            listener.SetRawSocketOption(
                SolSocket, SoBindToIfIndex, MemoryMarshal.AsBytes(new ReadOnlySpan<int>(in device)));
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static bool TryDropSyns(Socket listener)
    {
        const ushort LoadByte = 0x30;
        const ushort And = 0x54;
        const ushort JumpIfEqual = 0x15;
        const ushort Return = 0x06;
        BpfInstruction[] dropSyns =
        [
            new(LoadByte, 0, 0, TcpFlags),
            new(And, 0, 0, SynAndAck),
            new(JumpIfEqual, 0, 1, Syn),
            new(Return, 0, 0, 0),
            new(Return, 0, 0, uint.MaxValue),
        ];
        return SocketProgram.FilterPackets((int)listener.SafeHandle.DangerousGetHandle(), dropSyns) == 0;
    }
}
