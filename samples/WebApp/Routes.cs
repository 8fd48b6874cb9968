// Routes that move bodies (/bytes, /upload, /echo) and routes that take time (/delay, /block, /spin,
// /nested).
using System.Buffers;
using System.Diagnostics;
using System.Globalization;
using System.IO.Pipelines;
using System.Security.Cryptography;

namespace WebApp;

internal static class Routes
{
    private const long MaxBytes = 16L << 30;
    private const int MaxDelayMs = 600_000;
    // These two hold a thread; an hour-long one would be a denial of service by a typing error.
    private const int MaxBusyMs = 60_000;

    // Byte i of /bytes is i mod 251: a prime, so that a lost or repeated page (4,096 bytes) shows.
    private const int PatternPeriod = 251;
    private static readonly byte[] s_pattern = CreatePattern(PatternPeriod * 261); // just under 64 KiB

    private static readonly HttpClient s_self = new();

    public static void Map(IEndpointRouteBuilder routes)
    {
        routes.MapMethods("/bytes/{n}", [HttpMethods.Get, HttpMethods.Head], GetBytes);
        routes.MapPost("/upload", Upload);
        routes.MapPost("/echo", Echo);
        routes.MapGet("/delay/{ms}", Delay);
        routes.MapGet("/block/{ms}", Block);
        routes.MapGet("/spin/{ms}", Spin);
        routes.MapGet("/nested", Nested);
    }

    private static async Task GetBytes(HttpContext context)
    {
        if (!TryGetNumber(context, "n", MaxBytes, out long left))
        {
            await BadRequest(context, $"/bytes/{{n}}: n is a whole number from 0 to {MaxBytes}.\n");
            return;
        }

        HttpResponse response = context.Response;
        response.ContentType = "application/octet-stream";
        response.ContentLength = left;
        if (HttpMethods.IsHead(context.Request.Method))
        {
            return;
        }

        PipeWriter writer = response.BodyWriter;
        while (left > 0)
        {
            int count = (int)Math.Min(left, s_pattern.Length);
            FlushResult flush = await writer.WriteAsync(s_pattern.AsMemory(0, count), context.RequestAborted);
            if (flush.IsCompleted)
            {
                return;
            }

            left -= count;
        }
    }

    /// <summary>Counts and hashes a body; <c>?sha256=false</c> only counts, to measure the transport.</summary>
    private static async Task Upload(HttpContext context)
    {
        bool withHash = context.Request.Query["sha256"] != "false";
        using IncrementalHash? hash = withHash ? IncrementalHash.CreateHash(HashAlgorithmName.SHA256) : null;
        PipeReader reader = context.Request.BodyReader;
        long bytes = 0;
        while (true)
        {
            ReadResult read = await reader.ReadAsync(context.RequestAborted);
            bytes += read.Buffer.Length;
            if (hash is not null)
            {
                foreach (ReadOnlyMemory<byte> segment in read.Buffer)
                {
                    hash.AppendData(segment.Span);
                }
            }

            reader.AdvanceTo(read.Buffer.End);
            if (read.IsCompleted)
            {
                break;
            }
        }

        string? sha256 = hash is null ? null : Convert.ToHexStringLower(hash.GetHashAndReset());
        await context.Response.WriteAsJsonAsync(
            new UploadResult(bytes, sha256), AppJsonContext.Default.UploadResult,
            cancellationToken: context.RequestAborted);
    }

    private static async Task Echo(HttpContext context)
    {
        context.Response.ContentType = context.Request.ContentType ?? "application/octet-stream";
        context.Response.ContentLength = context.Request.ContentLength;
        PipeReader reader = context.Request.BodyReader;
        PipeWriter writer = context.Response.BodyWriter;
        while (true)
        {
            ReadResult read = await reader.ReadAsync(context.RequestAborted);
            foreach (ReadOnlyMemory<byte> segment in read.Buffer)
            {
                writer.Write(segment.Span);
            }

            reader.AdvanceTo(read.Buffer.End);
            FlushResult flush = await writer.FlushAsync(context.RequestAborted);
            if (read.IsCompleted || flush.IsCompleted)
            {
                return;
            }
        }
    }

    private static async Task Delay(HttpContext context)
    {
        if (!TryGetNumber(context, "ms", MaxDelayMs, out long milliseconds))
        {
            await BadRequest(context, $"/delay/{{ms}}: ms is a whole number from 0 to {MaxDelayMs}.\n");
            return;
        }

        await Task.Delay((int)milliseconds, context.RequestAborted);
        await Text(context, $"waited {milliseconds} ms\n");
    }

    private static Task Block(HttpContext context)
    {
        if (!TryGetNumber(context, "ms", MaxBusyMs, out long milliseconds))
        {
            return BadRequest(context, $"/block/{{ms}}: ms is a whole number from 0 to {MaxBusyMs}.\n");
        }

        Thread.Sleep((int)milliseconds); // on purpose: what a transport must survive
        return Text(context, $"blocked a thread for {milliseconds} ms\n");
    }

    private static Task Spin(HttpContext context)
    {
        if (!TryGetNumber(context, "ms", MaxBusyMs, out long milliseconds))
        {
            return BadRequest(context, $"/spin/{{ms}}: ms is a whole number from 0 to {MaxBusyMs}.\n");
        }

        long start = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(start).TotalMilliseconds < milliseconds)
        {
            Thread.SpinWait(64);
        }

        return Text(context, $"burned CPU for {milliseconds} ms\n");
    }

    private static Task Nested(HttpContext context)
    {
        if (context.Request.IsHttps || context.Connection.LocalIpAddress is not { } address)
        {
            return BadRequest(context, "/nested: only on TCP without TLS.\n");
        }

        // Sync over async, on purpose: a thread waits for a request that the same server has to answer.
        UriBuilder self = new("http", address.ToString(), context.Connection.LocalPort, "/plaintext");
        string text = s_self.GetStringAsync(self.Uri).GetAwaiter().GetResult();
        return Text(context, $"/plaintext says: {text}\n");
    }

    private static bool TryGetNumber(HttpContext context, string name, long max, out long value) =>
        long.TryParse(
            (string?)context.Request.RouteValues[name], NumberStyles.None, CultureInfo.InvariantCulture, out value)
        && value <= max;

    private static Task Text(HttpContext context, string text)
    {
        context.Response.ContentType = "text/plain";
        return context.Response.WriteAsync(text, context.RequestAborted);
    }

    private static Task BadRequest(HttpContext context, string text)
    {
        context.Response.StatusCode = StatusCodes.Status400BadRequest;
        return Text(context, text);
    }

    private static byte[] CreatePattern(int length)
    {
        byte[] pattern = new byte[length];
        for (int i = 0; i < length; i++)
        {
            pattern[i] = (byte)(i % PatternPeriod);
        }

        return pattern;
    }
}
