// Registration in the service collection: options, status, transport factory.
using MegaPipe.Kestrel;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Registers the MegaPipe transport.</summary>
public static class MegaPipeServiceCollectionExtensions
{
    /// <summary>Registers the MegaPipe transport as Kestrel's connection listener factory.</summary>
    /// <param name="services">The host's services.</param>
    /// <param name="configure">Options that win over configuration; may be null.</param>
    public static IServiceCollection AddMegaPipe(
        this IServiceCollection services, Action<MegaPipeTransportOptions>? configure = null)
    {
        services.AddSingleton<MegaPipeStatus>();
        if (configure is not null)
        {
            services.Configure(configure);
        }

        return services;
    }
}
