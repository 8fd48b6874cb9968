// The transports that every contract suite runs against, and how each is registered in a service collection.
using System.Net;
using System.Net.Sockets;
using System.Reflection;
using MegaPipe.Native;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Support;

/// <summary>
/// The stock transport, MegaPipe, each degraded mode of MegaPipe, and what serves where MegaPipe cannot.
/// </summary>
public enum TransportKind
{
    Sockets,
    MegaPipe,
    MegaPipeThreadPool,
    MegaPipeInline,
    MegaPipeNoLwsocket,
    MegaPipeLwsocketAlways,
    MegaPipeSmallBuffers,

    /// <summary>Every connection moves from channel to channel whenever it is idle.</summary>
    MegaPipeMoving,
    MegaPipeFallback,
}

/// <summary>The options that both transports have; null leaves the transport's own default.</summary>
public sealed class TransportSettings
{
    /// <summary>null: the default; 0: unlimited.</summary>
    public long? MaxReadBufferSize { get; set; }

    /// <summary>null: the default; 0: unlimited.</summary>
    public long? MaxWriteBufferSize { get; set; }

    /// <summary>Sets the limits above to null instead of a number.</summary>
    public bool NullLimits { get; set; }

    public bool? NoDelay { get; set; }

    public int? Backlog { get; set; }

    public bool FinOnError { get; set; }

    public Func<EndPoint, Socket>? CreateBoundListenSocket { get; set; }

    /// <summary>Options that only MegaPipe has; not called for the stock transport.</summary>
    public Action<MegaPipeTransportOptions>? MegaPipe { get; set; }

    /// <summary>Counts memory blocks through a pool factory of the tests' own.</summary>
    public bool TrackMemory { get; set; }

    /// <summary>Bytes of that factory's blocks.</summary>
    public int BlockBytes { get; set; } = 4096;
}

public static class TransportKinds
{
    /// <summary>Whether channels serve.</summary>
    public static bool IsMegaPipe(this TransportKind kind) =>
        kind is not (TransportKind.Sockets or TransportKind.MegaPipeFallback);

    /// <summary>What <see cref="MegaPipeStatus.Transport"/> must say; null for stock, which has no status.</summary>
    public static string? StatusOf(this TransportKind kind) => kind switch
    {
        TransportKind.Sockets => null,
        TransportKind.MegaPipeFallback => "sockets",
        _ => "megapipe",
    };

    /// <summary>Registers the transport of this kind; both go through their public Use… methods.</summary>
    public static IWebHostBuilder UseTransport(
        this IWebHostBuilder builder, TransportKind kind, TransportSettings settings) =>
        kind != TransportKind.Sockets
            ? builder.UseMegaPipe(options => Configure(options, kind, settings))
            : builder.UseSockets(options => Configure(options, settings));

    private static void Configure(SocketTransportOptions options, TransportSettings settings)
    {
        // Public only as an AppContext switch, which stock reads once per process.
        typeof(SocketTransportOptions).GetProperty("FinOnError", BindingFlags.Instance | BindingFlags.NonPublic)!
            .SetValue(options, settings.FinOnError);
        if (settings.NullLimits)
        {
            options.MaxReadBufferSize = null;
            options.MaxWriteBufferSize = null;
        }

        options.MaxReadBufferSize = settings.MaxReadBufferSize ?? options.MaxReadBufferSize;
        options.MaxWriteBufferSize = settings.MaxWriteBufferSize ?? options.MaxWriteBufferSize;
        options.NoDelay = settings.NoDelay ?? options.NoDelay;
        options.Backlog = settings.Backlog ?? options.Backlog;
        options.CreateBoundListenSocket = settings.CreateBoundListenSocket ?? options.CreateBoundListenSocket;
    }

    internal static void Configure(MegaPipeTransportOptions options, TransportKind kind, TransportSettings settings)
    {
        // Without this a broken ring would let the stock transport serve and every test would prove nothing.
        options.Fallback = MegaPipeFallback.Fail;
        options.FinOnError = settings.FinOnError;
        if (settings.NullLimits)
        {
            options.MaxReadBufferSize = null;
            options.MaxWriteBufferSize = null;
        }

        options.MaxReadBufferSize = settings.MaxReadBufferSize ?? options.MaxReadBufferSize;
        options.MaxWriteBufferSize = settings.MaxWriteBufferSize ?? options.MaxWriteBufferSize;
        options.NoDelay = settings.NoDelay ?? options.NoDelay;
        options.Backlog = settings.Backlog ?? options.Backlog;
        options.CreateBoundListenSocket = settings.CreateBoundListenSocket ?? options.CreateBoundListenSocket;
        switch (kind)
        {
            case TransportKind.MegaPipeThreadPool:
                options.Scheduling = MegaPipeScheduling.ThreadPool;
                break;
            case TransportKind.MegaPipeInline:
                options.Scheduling = MegaPipeScheduling.Inline;
                break;
            case TransportKind.MegaPipeNoLwsocket:
                options.LightweightSockets = LightweightSockets.Never;
                break;
            case TransportKind.MegaPipeLwsocketAlways:
                options.LightweightSockets = LightweightSockets.Always;
                break;
            case TransportKind.MegaPipeSmallBuffers:
                options.ReceiveBufferCount = 8;
                options.ReceiveBufferSize = 256;
                break;
            case TransportKind.MegaPipeMoving:
                options.Channels = 3;
                options.MovesAtEachLook = true;
                break;
            case TransportKind.MegaPipeFallback:
                options.Fallback = MegaPipeFallback.Sockets;
                options.DeniedFor = MegaPipeFeatures.IsSupported ? "the test says so" : null;
                break;
            default:
                break;
        }

        settings.MegaPipe?.Invoke(options);
    }
}
