// A request as the watcher may ask about it while the request's own thread is stuck in it.
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using MegaPipe.Kestrel.Internal.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;

namespace MegaPipe.Kestrel.Internal.Requests;

/// <summary>One per connection: Kestrel uses the context of an HTTP/1.1 connection again for each request.</summary>
internal sealed class RequestWork(HttpContext context) : IDescribedWork
{
    public HttpContext Context { get; set; } = context;

    /// <summary>
    /// Reads the features, never the context's own Request or Connection: these fill caches, which only the request's
    /// thread may do.
    /// </summary>
    [SuppressMessage("Design", "CA1031", Justification = "When its request is over the context has no features.")]
    public WorkDescription? Describe()
    {
        try
        {
            return Describe(Context.Features);
        }
        catch (Exception)
        {
            return null;
        }
    }

    /// <summary>null where no request has been read yet.</summary>
    private static WorkDescription? Describe(IFeatureCollection features)
    {
        IHttpRequestFeature? request = features.Get<IHttpRequestFeature>();
        if (string.IsNullOrEmpty(request?.Method))
        {
            return null;
        }

        Endpoint? endpoint = features.Get<IEndpointFeature>()?.Endpoint;
        Activity? activity = features.Get<IHttpActivityFeature>()?.Activity;
        string? route = (endpoint as RouteEndpoint)?.RoutePattern.RawText;
        return new WorkDescription(
            request.Protocol, Known(request.Method), route,
            endpoint?.DisplayName ?? "(no endpoint)")
        {
            Parent = activity?.Context ?? default,
        };
    }

    /// <summary>Anybody may send any method: unknown ones are one, as in the conventions.</summary>
    private static string Known(string method) =>
        method is "GET" or "POST" or "PUT" or "DELETE" or "PATCH" or "HEAD" or "OPTIONS" or "TRACE" or "CONNECT"
            ? method : "_OTHER";
}
