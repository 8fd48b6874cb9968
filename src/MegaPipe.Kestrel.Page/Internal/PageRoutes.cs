// What the three endpoints answer.
using System.Text.Json;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace MegaPipe.Kestrel.Page.Internal;

internal sealed class PageRoutes(Sampler sampler, IStackSource? stacks, CancellationToken stopping)
{
    /// <summary>How long stacks are sampled: a hundred blocks of 20 ms, and what is stuck.</summary>
    private static readonly TimeSpan s_stacksFor = TimeSpan.FromSeconds(2);


    /// <summary>Pages that may be open at a time; each costs a connection and some kilobytes a second.</summary>
    internal const int MaxStreams = 64;

    private int _streams;

    public static Task Page(HttpContext context)
    {
        HttpResponse response = context.Response;
        response.ContentType = "text/html; charset=utf-8";
        response.ContentLength = PageFile.Html.Length;
        NoStore(response);
        response.Headers.ContentSecurityPolicy = PageFile.ContentSecurityPolicy;
        response.Headers["Referrer-Policy"] = "no-referrer";
        return response.Body.WriteAsync(PageFile.Html, context.RequestAborted).AsTask();
    }

    public Task State(HttpContext context)
    {
        NoStore(context.Response);
        return context.Response.WriteAsJsonAsync(
            sampler.State() with { Stacks = stacks is not null }, StateJsonContext.Default.PageState,
            cancellationToken: context.RequestAborted);
    }

    public async Task Events(HttpContext context)
    {
        if (Interlocked.Increment(ref _streams) > MaxStreams)
        {
            Interlocked.Decrement(ref _streams);
            context.Response.StatusCode = StatusCodes.Status503ServiceUnavailable;
            return;
        }

        // An open page must not hold the host's stop.
        using CancellationTokenSource end =
            CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, stopping);
        try
        {
            context.Response.ContentType = "text/event-stream";
            NoStore(context.Response);
            context.Response.Headers["X-Accel-Buffering"] = "no"; // nginx would keep the events
            context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
            await context.Response.Body.FlushAsync(end.Token).ConfigureAwait(false);
            await foreach (ReadOnlyMemory<byte> sample in sampler.Follow(end.Token).ConfigureAwait(false))
            {
                await context.Response.Body.WriteAsync(sample, end.Token).ConfigureAwait(false);
                await context.Response.Body.FlushAsync(end.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
        }
        finally
        {
            Interlocked.Decrement(ref _streams);
        }
    }

    /// <summary>
    /// It changes nothing, but costs something: by POST, so that nobody fetches it ahead, and for no other site's page.
    /// </summary>
    public async Task Stacks(HttpContext context)
    {
        NoStore(context.Response);
        if (context.Request.Headers["Sec-Fetch-Site"].ToString() is not ("" or "same-origin" or "none"))
        {
            context.Response.StatusCode = StatusCodes.Status403Forbidden;
            return;
        }

        using CancellationTokenSource end =
            CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, stopping);
        try
        {
            StackState state = await stacks!.SampleAsync(s_stacksFor, end.Token).ConfigureAwait(false);
            context.Response.StatusCode = state.Problem is null
                ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable;
            await context.Response.WriteAsJsonAsync(
                state, StateJsonContext.Default.StackState, cancellationToken: end.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
        }
    }

    private static void NoStore(HttpResponse response)
    {
        response.Headers.CacheControl = "no-store";
        response.Headers.XContentTypeOptions = "nosniff";
    }

    /// <summary>One event, as it goes over the wire.</summary>
    internal static byte[] Frame(PageUpdate update)
    {
        byte[] json = JsonSerializer.SerializeToUtf8Bytes(update, StateJsonContext.Default.PageUpdate);
        return [.. "data: "u8, .. json, .. "\n\n"u8];
    }
}
