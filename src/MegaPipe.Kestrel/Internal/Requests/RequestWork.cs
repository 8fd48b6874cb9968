// A request as others may ask about it while its own thread is in it.
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using MegaPipe.Kestrel.Internal.Diagnostics;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;

namespace MegaPipe.Kestrel.Internal.Requests;

/// <summary>
/// One for each connection and for each thread that runs requests without a watcher: Kestrel uses the context of an
/// HTTP/1.1 connection again for each request. Whoever asks reads references only, whichever request they are of by
/// then.
/// </summary>
internal sealed class RequestWork : IDescribedWork
{
    private HttpContext? _context;
    private string? _method;
    private string? _protocol;

    /// <summary>
    /// The request's thread, at its beginning. Method and protocol are kept, since whoever asks the server for them may
    /// make it write: it remembers the text that it makes.
    /// </summary>
    public void Begin(HttpContext context)
    {
        HttpRequest request = context.Request;
        Keep(ref _method, request.Method);
        Keep(ref _protocol, request.Protocol);
        Keep(ref _context, context);

        // Mostly it is the same object, and a read is cheaper than a write that the collector has to know of.
        static void Keep<T>(ref T? field, T value) where T : class
        {
            if (!ReferenceEquals(field, value))
            {
                field = value;
            }
        }
    }

    /// <summary>The request's thread: it is over, or goes on elsewhere.</summary>
    public void End() => _context = null;

    [SuppressMessage("Design", "CA1031", Justification = "When its request is over the context has no features.")]
    public WorkDescription? Describe()
    {
        try
        {
            // Never the context's own Request or Connection: these fill caches.
            IFeatureCollection? features = _context?.Features;
            return features is null || _method is not { } method ? null : Describe(features, method, _protocol ?? "?");
        }
        catch (Exception)
        {
            return null;
        }
    }

    private static WorkDescription Describe(IFeatureCollection features, string method, string protocol)
    {
        Endpoint? endpoint = features.Get<IEndpointFeature>()?.Endpoint;
        Activity? activity = features.Get<IHttpActivityFeature>()?.Activity;
        string? route = (endpoint as RouteEndpoint)?.RoutePattern.RawText;
        return new WorkDescription(protocol, Known(method), route, endpoint?.DisplayName ?? "(no endpoint)")
        {
            Parent = activity?.Context ?? default,
        };
    }

    /// <summary>Anybody may send any method: unknown ones are one, as in the conventions.</summary>
    private static string Known(string method) =>
        method is "GET" or "POST" or "PUT" or "DELETE" or "PATCH" or "HEAD" or "OPTIONS" or "TRACE" or "CONNECT"
            ? method : "_OTHER";
}
