// /plaintext and /json as a benchmark app writes them: before routing, with as little as HTTP allows.
using System.Buffers;
using System.Text.Json;

namespace WebApp;

internal static class FastRoutes
{
    private static readonly byte[] s_plaintext = "Hello, World!"u8.ToArray();
    private static readonly int s_jsonLength = JsonSerializer.SerializeToUtf8Bytes(
        new JsonMessage("Hello, World!"), AppJsonContext.Default.JsonMessage).Length;

    [ThreadStatic]
    private static Utf8JsonWriter? t_jsonWriter;

    public static void Use(IApplicationBuilder app) => app.Use(next => context =>
        context.Request.Path.Value switch
        {
            "/plaintext" => WritePlaintext(context.Response),
            "/json" => WriteJson(context.Response),
            _ => next(context),
        });

    private static Task WritePlaintext(HttpResponse response)
    {
        response.ContentType = "text/plain";
        response.ContentLength = s_plaintext.Length;
        response.BodyWriter.Write(s_plaintext);
        // Kestrel flushes when the request ends; a flush here would only be a second one.
        return Task.CompletedTask;
    }

    private static Task WriteJson(HttpResponse response)
    {
        response.ContentType = "application/json";
        response.ContentLength = s_jsonLength;
        // Serialized for each request: that is what the scenario measures.
        Utf8JsonWriter writer = t_jsonWriter ??= new Utf8JsonWriter(
            Stream.Null, new JsonWriterOptions { SkipValidation = true });
        writer.Reset(response.BodyWriter);
        JsonSerializer.Serialize(writer, new JsonMessage("Hello, World!"), AppJsonContext.Default.JsonMessage);
        writer.Flush();
        return Task.CompletedTask;
    }
}
