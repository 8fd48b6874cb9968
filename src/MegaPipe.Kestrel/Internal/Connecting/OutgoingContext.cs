// What all connections share that one factory makes.
using System.Buffers;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Connecting;

internal sealed class OutgoingContext(
    MegaPipeTransportOptions options, ILogger logger, MemoryPool<byte> pool, HostMeter meter)
{
    /// <summary>Who is disposed where something is asked for too late.</summary>
    public const string FactoryName = "MegaPipeConnectionFactory";

    /// <summary>In the meter they have no endpoint of this host.</summary>
    private static readonly IPEndPoint s_any = new(IPAddress.Any, 0);

    private readonly EndpointContext _tcp = new(s_any, options, logger, pool, meter.For(s_any));
    private readonly EndpointContext _unix =
        new(new UnixDomainSocketEndPoint("/"), options, logger, pool, meter.For(s_any));
    private volatile bool _closed;

    public MegaPipeTransportOptions Options { get; } = options;

    /// <summary>Which source ports a channel takes; null: the kernel picks.</summary>
    public SourcePorts? Ports { get; init; }

    /// <summary>The factory is disposed: nothing new is connected.</summary>
    public bool IsClosed => _closed;

    public void Close() => _closed = true;

    public EndpointContext EndpointFor(EndPoint target) =>
        target.AddressFamily == AddressFamily.Unix ? _unix : _tcp;

    /// <summary>The carrier: ends what was made for this factory, and what is being made.</summary>
    public void End(IHandleOwner owner)
    {
        if (owner is ConnectAttempt attempt && ReferenceEquals(attempt.Context, this))
        {
            attempt.Abandon();
        }
        else if (owner is MegaPipeConnection connection &&
            (ReferenceEquals(connection.Context, _tcp) || ReferenceEquals(connection.Context, _unix)))
        {
            connection.Abort(new ConnectionAbortedException("The factory of the connection was disposed."));
        }
    }
}
