// Which channel a connection belongs to at first, as an unkind client would find out.
using System.Buffers.Binary;
using MegaPipe.Kestrel;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Steering;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Balance;

internal static class Hashes
{
    private const uint Spread = 0x9e37_79b1; // as in FlowProgram

    /// <summary>
    /// By the kernel's hash it is the channel that serves: nothing moves there. By the table it is the channel that the
    /// connection's flow group had at first, of the hash that the program makes of the address and the ports.
    /// </summary>
    public static int First(HttpContext context, MegaPipeSteering steering, int channels)
    {
        if (steering == MegaPipeSteering.Hash)
        {
            return ((MegaPipeConnection)context.Features.Get<IConnectionEndPointFeature>()!).Channel.Index;
        }

        uint source = BinaryPrimitives.ReadUInt32BigEndian(context.Connection.RemoteIpAddress!.GetAddressBytes());
        uint ports = ((uint)context.Connection.RemotePort << 16) | (uint)context.Connection.LocalPort;
        ushort[] table = FlowTable.InTurn(channels);
        return table[(((source ^ ports) * Spread) >> 20) & (uint)(table.Length - 1)];
    }
}
