// The one line that lets stacks be sampled.
using MegaPipe.Kestrel;
using MegaPipe.Kestrel.Page.Internal;
using MegaPipe.Kestrel.Stacks;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Adds the sampler of stacks.</summary>
public static class MegaPipeStacksServiceCollectionExtensions
{
    /// <summary>
    /// Adds <see cref="MegaPipeStackSampler"/>, a singleton; the live page has a button for it then. It does nothing
    /// until it is asked. Stacks show names of your code: put <c>RequireAuthorization()</c> on the page.
    /// </summary>
    /// <param name="services"><c>UseMegaPipe()</c> may come before or after.</param>
    public static IServiceCollection AddMegaPipeStacks(this IServiceCollection services)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.TryAddSingleton<MegaPipeStatus>();
        services.TryAddSingleton<MegaPipeStackSampler>();
        services.TryAddSingleton<IStackSource>(static provider => provider.GetRequiredService<MegaPipeStackSampler>());
        return services;
    }
}
