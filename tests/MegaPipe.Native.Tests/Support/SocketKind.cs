// The families of sockets that each test of connections runs with.
using System.Net;
using System.Net.Sockets;

namespace MegaPipe.Native.Tests.Support;

/// <summary>A family of sockets.</summary>
public sealed record SocketKind(string Name)
{
    public static readonly SocketKind Ipv4 = new("ipv4");
    public static readonly SocketKind Ipv6 = new("ipv6");
    public static readonly SocketKind Unix = new("unix");
    public static readonly SocketKind Abstract = new("abstract");

    public static TheoryData<SocketKind> All => new(Ipv4, Ipv6, Unix, Abstract);

    public bool IsUnix => this == Unix || this == Abstract;

    public Socket Listen()
    {
        EndPoint endPoint = Name switch
        {
            "ipv4" => new IPEndPoint(IPAddress.Loopback, 0),
            "ipv6" => new IPEndPoint(IPAddress.IPv6Loopback, 0),
            "unix" => new UnixDomainSocketEndPoint(Path.Combine(Path.GetTempPath(), $"mp-{Guid.NewGuid():N}.sock")),
            _ => new UnixDomainSocketEndPoint($"\0mp-{Guid.NewGuid():N}"),
        };
        Socket listener = Create(endPoint);
        listener.Bind(endPoint);
        listener.Listen(128);
        return listener;
    }

    /// <summary>A blocking client that gives up loudly.</summary>
    public static Socket ConnectTo(Socket listener)
    {
        EndPoint endPoint = listener.LocalEndPoint!;
        Socket client = Create(endPoint);
        client.ReceiveTimeout = client.SendTimeout = (int)ChannelHarness.Patience.TotalMilliseconds;
        client.Connect(endPoint);
        return client;
    }

    public override string ToString() => Name;

    private static Socket Create(EndPoint endPoint) => new(endPoint.AddressFamily, SocketType.Stream,
        endPoint.AddressFamily == AddressFamily.Unix ? ProtocolType.Unspecified : ProtocolType.Tcp);
}
