// What all connections of an endpoint share.
using System.Buffers;
using System.Net;
using MegaPipe.Kestrel.Internal.Diagnostics;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Connections;

/// <summary>An endpoint's limits and services, resolved once.</summary>
internal sealed class EndpointContext(
    EndPoint endPoint, MegaPipeTransportOptions options, ILogger logger, MemoryPool<byte> memoryPool,
    EndpointMeter? meter = null)
{
    /// <summary>Counts its connections, by channel.</summary>
    public EndpointMeter Meter { get; } = meter ?? new EndpointMeter(endPoint);

    public EndPoint EndPoint { get; } = endPoint;

    public ILogger Logger { get; } = logger;

    public MemoryPool<byte> MemoryPool { get; } = memoryPool;

    public bool FinOnError { get; } = options.FinOnError;

    public long MaxReadBufferSize { get; } = Limit(options.MaxReadBufferSize);

    public long MaxWriteBufferSize { get; } = Limit(options.MaxWriteBufferSize);

    private static long Limit(long? option) => option is > 0 and { } limit ? limit : long.MaxValue;
}
