// A listener whose queue is full: the kernel drops further SYNs, so connects to it wait.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Connecting;

internal static class FullListener
{
    public static async Task<Socket> CreateAsync(ConnectHarness harness)
    {
        // A queue of length 0 holds one.
        Socket listener = harness.Listen(new IPEndPoint(IPAddress.Loopback, 0), backlog: 0);
        Socket filler = harness.Own(Client.Create(listener.LocalEndPoint!));
        await filler.ConnectAsync(listener.LocalEndPoint!).InTime();
        await Eventually.True(() => listener.Poll(0, SelectMode.SelectRead));
        return listener;
    }
}
