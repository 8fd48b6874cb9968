// The check "megapipe": whether the transport does what it is there for.
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel;

/// <summary>
/// Some states are seen only in what grew from one check to the next, so it remembers the last one. Whoever checks
/// every few seconds gets what the options say.
/// </summary>
internal sealed class TransportHealth(
    MegaPipeStatus status, IOptions<MegaPipeHealthOptions> options, TimeProvider clock) : IHealthCheck
{
    private readonly Lock _sync = new();
    private long _starved;
    private long _acceptErrors;

    // Timestamps: the time of day may jump.
    private long? _starvedSince;
    private long? _acceptFailedAt;

    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        IReadOnlyList<MegaPipeChannelStatus> channels = status.GetChannels();
        long Sum(string counter) => channels.Sum(channel => channel.Counters[counter]);
        IReadOnlyList<MegaPipeBlockedEndpoint> blocked = status.GetBlocked();
        Dictionary<string, object> data = new()
        {
            ["transport"] = status.Transport,
            ["channels"] = channels.Count,
            ["connections"] = Sum("connections"),
            ["carriers_live"] = status.CarriersLive,
            ["carriers_spare"] = status.CarriersSpare,
            ["hand_overs"] = Sum("hand_overs"),
            ["buffers_starved"] = Sum("buffers_starved"),
            ["accept_errors"] = Sum("accept_errors"),
            ["blocked_endpoints"] = blocked.Count,
            ["stuck_now"] = blocked.Sum(row => row.StuckNow),
        };
        List<string> reasons = [];
        if (status.FallbackReason is { } fallback)
        {
            data["fallback_reason"] = fallback;
            reasons.Add($"the Sockets transport serves instead: {fallback}");
        }

        if (status.AreCarriersExhausted)
        {
            reasons.Add("nearly all carriers are stuck in application code: everything runs on the thread pool");
        }

        AddWhatGrew(reasons, Sum("buffers_starved"), Sum("accept_errors"));
        return Task.FromResult(reasons.Count == 0
            ? HealthCheckResult.Healthy(status.Transport == "none" ? "Nothing is bound." : "MegaPipe serves.", data)
            : HealthCheckResult.Degraded(string.Join("; ", reasons), data: data));
    }

    private void AddWhatGrew(List<string> reasons, long starved, long acceptErrors)
    {
        long now = clock.GetTimestamp();
        lock (_sync)
        {
            _starvedSince = starved > _starved ? _starvedSince ?? now : null;
            _starved = starved;
            if (_starvedSince is { } since && clock.GetElapsedTime(since, now) >= options.Value.StarvedFor)
            {
                reasons.Add("reads have gone without a free receive buffer for long: raise ReceiveBufferCount");
            }

            _acceptFailedAt = acceptErrors > _acceptErrors ? now : _acceptFailedAt;
            _acceptErrors = acceptErrors;
            if (_acceptFailedAt is { } failed && clock.GetElapsedTime(failed, now) < options.Value.AcceptErrorsFor)
            {
                reasons.Add("accepts have failed lately: see error 103 in the log");
            }
        }
    }
}
