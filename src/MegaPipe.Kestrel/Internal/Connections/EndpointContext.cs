// What all connections of an endpoint share.
using System.Buffers;
using System.Net;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Native;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Connections;

/// <summary>An endpoint's limits and services, resolved once.</summary>
internal sealed class EndpointContext(
    EndPoint endPoint, MegaPipeTransportOptions options, ILogger logger, MemoryPool<byte> memoryPool,
    EndpointMeter? meter = null)
{
    /// <summary>
    /// What a client sends with its connect travels right behind that. So long it takes where a packet is lost: the
    /// kernel sends it again after 200 ms and the way there and back.
    /// </summary>
    private const int LostPacketMs = 250;

    private volatile int _slowestMs;

    /// <summary>
    /// A client that has connected and been silent for longer does not ask soon. Twice what its slowest ones took until
    /// now, which are slow where they are far too many for their machine.
    /// </summary>
    public int SilenceMs => Math.Max(LostPacketMs, 2 * _slowestMs);

    /// <summary>Any carrier: so long a client took that has asked. Where two say so at once, one is enough.</summary>
    public void NoteSilence(int milliseconds)
    {
        if (milliseconds > _slowestMs)
        {
            _slowestMs = milliseconds;
        }
    }

    /// <summary>Counts its connections, by channel.</summary>
    public EndpointMeter Meter { get; } = meter ?? new EndpointMeter(endPoint);

    public EndPoint EndPoint { get; } = endPoint;

    public ILogger Logger { get; } = logger;

    public MemoryPool<byte> MemoryPool { get; } = memoryPool;

    public bool FinOnError { get; } = options.FinOnError;

    public long MaxReadBufferSize { get; } = Limit(options.MaxReadBufferSize);

    public long MaxWriteBufferSize { get; } = Limit(options.MaxWriteBufferSize);

    /// <summary>Bytes of a write from which on it is not copied; int.MaxValue: never.</summary>
    public int ZeroCopyFrom { get; } =
        options.ZeroCopyThreshold > 0 && MegaPipeFeatures.Has(Feature.ZeroCopy)
            ? options.ZeroCopyThreshold : int.MaxValue;

    private static long Limit(long? option) => option is > 0 and { } limit ? limit : long.MaxValue;
}
