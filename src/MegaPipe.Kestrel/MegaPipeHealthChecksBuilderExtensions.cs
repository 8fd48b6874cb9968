// Health checks of the transport.
using MegaPipe.Kestrel;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds the checks of the MegaPipe transport.</summary>
public static class MegaPipeHealthChecksBuilderExtensions
{
    /// <summary>
    /// Adds two checks. <c>megapipe</c>: healthy; degraded while the fallback serves, carriers are exhausted, reads
    /// have gone without receive buffers for long, or accepts failed lately. <c>megapipe-ready</c>, with the tag
    /// <c>ready</c>: unhealthy before the first endpoint is bound, and from the moment that the host is told to stop.
    /// </summary>
    /// <param name="builder">After <c>AddHealthChecks()</c>; <c>UseMegaPipe()</c> may come before or after it.</param>
    /// <param name="configure">May be null.</param>
    public static IHealthChecksBuilder AddMegaPipe(
        this IHealthChecksBuilder builder, Action<MegaPipeHealthOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        IServiceCollection services = builder.Services;
        services.TryAddSingleton<MegaPipeStatus>();
        services.TryAddSingleton<DrainState>();
        services.TryAddSingleton(static provider => new TransportHealth(
            provider.GetRequiredService<MegaPipeStatus>(),
            provider.GetRequiredService<IOptions<MegaPipeHealthOptions>>(),
            provider.GetService<TimeProvider>() ?? TimeProvider.System));
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IHostedService, DrainState>(
            static provider => provider.GetRequiredService<DrainState>()));
        if (configure is not null)
        {
            services.Configure(configure);
        }

        builder.Add(new HealthCheckRegistration(
            "megapipe", static provider => provider.GetRequiredService<TransportHealth>(), null, null));
        builder.Add(new HealthCheckRegistration(
            "megapipe-ready", static provider => provider.GetRequiredService<DrainState>(), null, ["ready"]));
        return builder;
    }
}
