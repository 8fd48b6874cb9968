// Where this process's sockets are in a group that it shares with other processes: one that ends steers the group away
// from itself first.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Steering;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>
/// The kernel keeps a group's members in the order in which they began to listen, and where one leaves, the last one
/// takes its place. Nobody tells a process its places. What it can know: who was there before it, and whether they
/// still are. So its places follow theirs; where more than two processes overlap that may be wrong, and then some
/// clients are asked to come again instead of being sent elsewhere (<see cref="NewcomerRefusal"/>).
/// </summary>
internal sealed class SharedAddress(ulong[] before)
{
    private Socket? _member;
    private int _older;
    private int _own;
    private int _total;

    /// <summary>Who listens on the address, before this process does. null: the address is not shared.</summary>
    public static SharedAddress? Look(EndPoint endPoint, MegaPipeTransportOptions options) =>
        options.ShareAddress && endPoint is IPEndPoint ip ? new(ip.Port == 0 ? [] : Listeners(ip)) : null;

    /// <summary>Whether somebody else listens there, now that <paramref name="own"/> members are to leave.</summary>
    public bool HasOthers(IPEndPoint endPoint, Socket member, int own)
    {
        ulong[] now = Listeners(endPoint);
        _member = member;
        _own = own;
        _total = now.Length;
        _older = now.Count(before.Contains);
        return _total > own;
    }

    /// <summary>
    /// From now on new connections go to the others. With <paramref name="exceptTheLast"/> not to the one that changes
    /// its place when the last of this process's members leaves. false where the kernel refuses.
    /// </summary>
    public bool TrySteerAway(bool exceptTheLast)
    {
        int last = exceptTheLast && _older + _own < _total ? 1 : 0;
        int others = _total - _own - last;
        return others > 0 && SocketProgram.SteerGroup(
            (int)_member!.SafeHandle.DangerousGetHandle(), FlowProgram.Around(_older, _own, others)) == 0;
    }

    /// <summary>The last of this process's members has left.</summary>
    public void OnLeft()
    {
        _own--;
        _total--;
    }

    /// <summary>The kernel's hash decides again among those who stay.</summary>
    public void Release() => _ = SocketProgram.ReleaseGroup((int)_member!.SafeHandle.DangerousGetHandle());

    private static ulong[] Listeners(IPEndPoint endPoint)
    {
        List<ulong> listeners = [];
        return SocketDiagnostics.FindListeners(endPoint, listeners) < 0 ? [] : [.. listeners];
    }
}
