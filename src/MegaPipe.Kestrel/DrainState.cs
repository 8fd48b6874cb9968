// The check "megapipe-ready", and the time that a load balancer gets to see it.
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel;

/// <summary>
/// Ready from the first bind until the host is told to stop. The host asks its services to be "stopping" before any of
/// them stops, the server included: that is where the delay is.
/// </summary>
internal sealed class DrainState : IHealthCheck, IHostedLifecycleService
{
    private readonly MegaPipeStatus _status;
    private readonly TimeSpan _delay;
    private volatile bool _draining;

    public DrainState(
        MegaPipeStatus status, IOptions<MegaPipeHealthOptions> options, IHostApplicationLifetime lifetime)
    {
        _status = status;
        _delay = options.Value.DrainDelay;
        lifetime.ApplicationStopping.Register(() => _draining = true);
    }

    public Task<HealthCheckResult> CheckHealthAsync(
        HealthCheckContext context, CancellationToken cancellationToken = default) =>
        Task.FromResult(
            _draining ? HealthCheckResult.Unhealthy("The host drains: send nothing new.")
            : _status.Transport == "none" ? HealthCheckResult.Unhealthy("Nothing is bound yet.")
            : HealthCheckResult.Healthy());

    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        _draining = true;
        if (_delay > TimeSpan.Zero)
        {
            await Task.Delay(_delay, cancellationToken)
                .ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
