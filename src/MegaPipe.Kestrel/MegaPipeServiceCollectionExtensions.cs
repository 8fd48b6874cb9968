// Registration in the service collection: options, status, transport factory.
using MegaPipe.Kestrel;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Internal.Requests;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Options;

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
        ArgumentNullException.ThrowIfNull(services);
        AddChannels(services);
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IStartupFilter, RequestObserver>());
        StockTransport.Add(services);

        // Kestrel asks the factory that was registered last first.
        services.AddSingleton<IConnectionListenerFactory>(static provider => new MegaPipeTransportFactory(
            provider.GetRequiredService<IOptions<MegaPipeTransportOptions>>(),
            provider.GetRequiredService<Logging.ILoggerFactory>(),
            provider.GetRequiredService<MegaPipeStatus>(),
            provider));
        if (configure is not null)
        {
            services.Configure(configure);
        }

        return services;
    }

    /// <summary>
    /// Registers <see cref="MegaPipeConnectionFactory"/>, which makes outgoing connections on channels: those of the
    /// host's endpoints where <c>UseMegaPipe</c> serves them, otherwise channels of its own. It is the services'
    /// <see cref="IConnectionFactory"/> unless they have one.
    /// </summary>
    /// <param name="services">The services.</param>
    /// <param name="configure">Options that win over configuration; may be null.</param>
    public static IServiceCollection AddMegaPipeConnections(
        this IServiceCollection services, Action<MegaPipeTransportOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.AddLogging();
        AddChannels(services);
        services.TryAddSingleton(static provider => new MegaPipeConnectionFactory(
            provider.GetRequiredService<MegaPipeChannels>(),
            provider.GetRequiredService<Logging.ILoggerFactory>()));
        services.TryAddSingleton<IConnectionFactory>(
            static provider => provider.GetRequiredService<MegaPipeConnectionFactory>());
        if (configure is not null)
        {
            services.Configure(configure);
        }

        return services;
    }

    private static void AddChannels(IServiceCollection services)
    {
        services.AddOptions<MegaPipeTransportOptions>().ValidateOnStart();
        services.TryAddEnumerable(
            ServiceDescriptor.Singleton<IConfigureOptions<MegaPipeTransportOptions>, OptionsBinder>());
        services.TryAddEnumerable(
            ServiceDescriptor.Singleton<IValidateOptions<MegaPipeTransportOptions>, OptionsValidator>());
        services.TryAddSingleton<MegaPipeStatus>();
        services.TryAddSingleton(static provider => new BlockingTable(
            Logger(provider), provider.GetRequiredService<IOptions<MegaPipeTransportOptions>>().Value.HandOverAfter));
        services.TryAddSingleton(static provider => new MegaPipeChannels(
            provider.GetRequiredService<IOptions<MegaPipeTransportOptions>>().Value,
            Logger(provider),
            provider.GetService<IMemoryPoolFactory<byte>>(),
            provider.GetRequiredService<MegaPipeStatus>(),
            provider.GetRequiredService<BlockingTable>()));
    }

    private static GuardedLogger Logger(IServiceProvider provider) => new(
        provider.GetRequiredService<Logging.ILoggerFactory>().CreateLogger(TransportLog.Category));
}
