// Collects what really serves, from the transport itself and from the connection that asks.
using System.Globalization;
using System.Runtime;
using System.Runtime.InteropServices;
using MegaPipe.Kestrel;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Options;

namespace WebApp;

internal sealed class TransportReporter(
    SampleArguments arguments, IServer server, IServiceProvider services, IOptions<SocketTransportOptions> sockets)
{
    public TransportReport Create(HttpContext context)
    {
        MegaPipeStatus? status = services.GetService<MegaPipeStatus>();
        return new TransportReport(
            arguments.TransportName,
            status?.Transport ?? arguments.TransportName,
            status?.FallbackReason,
            context.Features.Get<IConnectionIdFeature>()?.GetType().FullName,
            Environment.ProcessId,
            Environment.CpuUsage.TotalTime.TotalSeconds,
            JitInfo.GetCompiledMethodCount(),
            Environment.WorkingSet,
            Environment.ProcessorCount,
            RuntimeInformation.FrameworkDescription,
            $"{RuntimeInformation.OSDescription}, kernel {Environment.OSVersion.Version}",
            [.. server.Features.Get<IServerAddressesFeature>()?.Addresses ?? []],
            status?.Options ?? Describe(sockets.Value),
            status?.Features ?? [],
            status?.CarriersLive ?? 0,
            status?.CarriersSpare ?? 0,
            status?.GetChannels() ?? []);
    }

    private static Dictionary<string, string> Describe(SocketTransportOptions options) => new()
    {
        ["IOQueueCount"] = options.IOQueueCount.ToString(CultureInfo.InvariantCulture),
        ["WaitForDataBeforeAllocatingBuffer"] = options.WaitForDataBeforeAllocatingBuffer.ToString(),
        ["NoDelay"] = options.NoDelay.ToString(),
        ["Backlog"] = options.Backlog.ToString(CultureInfo.InvariantCulture),
        ["MaxReadBufferSize"] = options.MaxReadBufferSize?.ToString(CultureInfo.InvariantCulture) ?? "unlimited",
        ["MaxWriteBufferSize"] = options.MaxWriteBufferSize?.ToString(CultureInfo.InvariantCulture) ?? "unlimited",
        ["UnsafePreferInlineScheduling"] = options.UnsafePreferInlineScheduling.ToString(),
    };
}
