// The one line that shows the live page.
using MegaPipe.Kestrel;
using MegaPipe.Kestrel.Page.Internal;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Microsoft.AspNetCore.Builder;

/// <summary>Maps the live page of the MegaPipe transport.</summary>
public static class MegaPipePageEndpointRouteBuilderExtensions
{
    /// <summary>
    /// Maps three GET endpoints: the page at <paramref name="pattern"/>, its data as JSON at <c>pattern/state</c>, and
    /// its updates as Server-Sent Events at <c>pattern/events</c>. They only read. With <c>AddMegaPipeStacks()</c> of
    /// MegaPipe.Kestrel.Stacks a POST at <c>pattern/stacks</c> samples stacks of what blocks, for two seconds. The page
    /// shows routes, options and kernel features: put <c>RequireAuthorization()</c> on the result where not everybody
    /// may see them.
    /// </summary>
    /// <param name="endpoints">Where to map.</param>
    /// <param name="pattern">Path of the page, without parameters. Default <c>/megapipe</c>.</param>
    /// <returns>For conventions, which count for all of them.</returns>
    /// <exception cref="InvalidOperationException"><c>UseMegaPipe</c> was not called.</exception>
    public static IEndpointConventionBuilder MapMegaPipe(
        this IEndpointRouteBuilder endpoints, string pattern = "/megapipe")
    {
        ArgumentNullException.ThrowIfNull(endpoints);
        ArgumentNullException.ThrowIfNull(pattern);
        MegaPipeStatus status = endpoints.ServiceProvider.GetService<MegaPipeStatus>() ??
            throw new InvalidOperationException("MapMegaPipe shows what UseMegaPipe() serves: call that first.");
        IStackSource? stacks = endpoints.ServiceProvider.GetService<IStackSource>();
        PageRoutes routes = new(
            new Sampler(status, ThreadClock.Instance), stacks,
            endpoints.ServiceProvider.GetService<IHostApplicationLifetime>()?.ApplicationStopping ?? default);
        RouteGroupBuilder group = endpoints.MapGroup(pattern);
        group.MapGet("", (RequestDelegate)PageRoutes.Page).WithDisplayName("MegaPipe page");
        group.MapGet("/state", (RequestDelegate)routes.State).WithDisplayName("MegaPipe state");
        group.MapGet("/events", (RequestDelegate)routes.Events).WithDisplayName("MegaPipe events");
        if (stacks is not null)
        {
            group.MapPost("/stacks", (RequestDelegate)routes.Stacks).WithDisplayName("MegaPipe stacks");
        }

        return group;
    }
}
