// The state that every test must leave behind: no fd more than before, no lease out, no operation in flight.
using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using MegaPipe.Native.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Support;

internal sealed class LeakCheck
{
    private static readonly string[] MustBeZero = ["leases_out", "operations_in_flight"];

    private readonly int _fdsBefore;

    static LeakCheck()
    {
        // The runtime's socket engine opens its own fds on first use; they are not the test's.
        using Socket listener = new(SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.IPv6Loopback, 0));
        listener.Listen();
        using Socket client = new(SocketType.Stream, ProtocolType.Tcp);
        client.ConnectAsync(listener.LocalEndPoint!).GetAwaiter().GetResult();
        using Socket server = listener.AcceptAsync().GetAwaiter().GetResult();
        client.Send([1]);
        byte[] one = new byte[1];
        server.ReceiveAsync(one).GetAwaiter().GetResult();
        // So does its signal handling, which every host starts.
        PosixSignalRegistration.Create(PosixSignal.SIGTERM, _ => { }).Dispose();
    }

    private LeakCheck() => _fdsBefore = OpenFds.Count();

    public static LeakCheck Start() => new();

    /// <summary>Bytes of a counter over all channels; 0 where the transport does not have the counter.</summary>
    public static long Sum(MegaPipeStatus? status, string counter) =>
        status?.GetChannels().Sum(channel => channel.Counters.GetValueOrDefault(counter)) ?? 0;

    /// <summary>
    /// After the connections are gone, before the host is: nothing is out with the app or the kernel.
    /// </summary>
    public static async Task AssertIdle(MegaPipeStatus? status)
    {
        if (status is not null)
        {
            await Eventually.True(
                () => Sum(status, "leases_out") == 0,
                () => $"leases_out = {Sum(status, "leases_out")}", "no lease out");
        }
    }

    /// <summary>After the host is gone.</summary>
    public async Task AssertNothingLeft(TransportKind kind, MegaPipeStatus? status)
    {
        foreach (string counter in MustBeZero)
        {
            await Eventually.True(
                () => Sum(status, counter) == 0, () => $"{counter} = {Sum(status, counter)}", $"{counter} is 0");
        }

        if (!kind.IsMegaPipe() && OpenFds.Count() > _fdsBefore)
        {
            // Stock leaves the socket of a failed bind to its finalizer.
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        await Eventually.True(
            () => OpenFds.Count() <= _fdsBefore,
            () => $"fds before {_fdsBefore}, now {OpenFds.Count()}: {OpenFds.Describe()}; connections " +
                $"{Sum(status, "connections")}, handles_live {Sum(status, "handles_live")}, accepted " +
                $"{Sum(status, "accepted")}",
            "no more fds than before");
    }
}
