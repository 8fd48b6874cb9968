// JSON without reflection: every type that the sample writes.
using System.Text.Json.Serialization;
using MegaPipe.Kestrel;

namespace WebApp;

internal readonly record struct JsonMessage(string Message);

internal sealed record UploadResult(long Bytes, string? Sha256);

/// <summary>What serves, as /transport reports it.</summary>
/// <param name="Requested">The --transport value.</param>
/// <param name="Transport">What really serves: megapipe, sockets, sockets-inline; none before the first bind.</param>
/// <param name="FallbackReason">Why it is not the requested one; otherwise null.</param>
/// <param name="ConnectionType">The type behind this very connection: evidence that is nobody's claim.</param>
/// <param name="ProcessId">The serving process; a second server on the same port shows here.</param>
/// <param name="CpuSeconds">CPU time of the process so far, user and system; load jobs take the difference.</param>
/// <param name="CompiledMethods">Methods that the runtime has compiled: unchanged means that the code settled.</param>
/// <param name="WorkingSetBytes">Resident memory of the process.</param>
/// <param name="Processors">Processors that the process may use.</param>
/// <param name="Framework">Runtime name and version.</param>
/// <param name="System">Operating system and kernel.</param>
/// <param name="Endpoints">Bound addresses.</param>
/// <param name="Options">Resolved transport options.</param>
/// <param name="Features">Kernel features, with reasons where refused.</param>
/// <param name="CarriersLive">Carrier threads of the process; 0 where MegaPipe does not serve.</param>
/// <param name="CarriersSpare">Carriers that have no channel at this moment.</param>
/// <param name="Channels">Counters of each channel.</param>
internal sealed record TransportReport(
    string Requested, string Transport, string? FallbackReason, string? ConnectionType, int ProcessId,
    double CpuSeconds, long CompiledMethods, long WorkingSetBytes, int Processors, string Framework, string System,
    IReadOnlyList<string> Endpoints, IReadOnlyDictionary<string, string> Options,
    IReadOnlyList<MegaPipeFeatureStatus> Features, int CarriersLive, int CarriersSpare,
    IReadOnlyList<MegaPipeChannelStatus> Channels);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
[JsonSerializable(typeof(JsonMessage))]
[JsonSerializable(typeof(UploadResult))]
internal sealed partial class AppJsonContext : JsonSerializerContext;

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, WriteIndented = true)]
[JsonSerializable(typeof(TransportReport))]
internal sealed partial class ReportJsonContext : JsonSerializerContext;
