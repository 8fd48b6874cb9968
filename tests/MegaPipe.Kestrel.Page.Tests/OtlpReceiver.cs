// Receives metrics and traces by OTLP over HTTP, as a collector does, and keeps what the tests ask for.
using System.Collections.Concurrent;
using Google.Protobuf;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Page.Tests;

/// <summary>An instrument as it arrived.</summary>
internal sealed record ReceivedMetric(
    string Scope, string Name, string Unit, string Description, string Kind,
    IReadOnlyList<IReadOnlyDictionary<string, object>> Points)
{
    /// <summary>Of the first point of a histogram.</summary>
    public IReadOnlyList<double> Bounds { get; init; } = [];
}

internal sealed record ReceivedSpan(
    string Scope, string Name, string Id, string Parent, IReadOnlyDictionary<string, object> Attributes);

/// <summary>
/// The numbers of the fields are those of opentelemetry/proto/metrics/v1 and trace/v1, which are stable.
/// </summary>
internal sealed class OtlpReceiver : IAsyncDisposable
{
    private readonly WebApplication _app;

    private OtlpReceiver(WebApplication app) => _app = app;

    public string Address => _app.Urls.First();

    /// <summary>By name, the last of each.</summary>
    public ConcurrentDictionary<string, ReceivedMetric> Metrics { get; } = new();

    public ConcurrentQueue<ReceivedSpan> Spans { get; } = new();

    public ConcurrentDictionary<string, object> Resource { get; } = new();

    public static async Task<OtlpReceiver> StartAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.Logging.SetMinimumLevel(LogLevel.None);
        builder.Services.AddRoutingCore();
        builder.WebHost.UseKestrelCore();
        builder.WebHost.ConfigureKestrel(options => options.Listen(System.Net.IPAddress.Loopback, 0));
        WebApplication app = builder.Build();
        OtlpReceiver receiver = new(app);
        app.MapPost("/v1/metrics", (RequestDelegate)(context => receiver.ReceiveAsync(context, receiver.AddMetrics)));
        app.MapPost("/v1/traces", (RequestDelegate)(context => receiver.ReceiveAsync(context, receiver.AddTraces)));
        await app.StartAsync();
        return receiver;
    }

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    private async Task ReceiveAsync(HttpContext context, Action<byte[]> add)
    {
        using MemoryStream body = new();
        await context.Request.Body.CopyToAsync(body);
        add(body.ToArray());
        context.Response.ContentType = "application/x-protobuf"; // an empty answer is a message without fields
    }

    private void AddMetrics(byte[] request)
    {
        foreach (Field resource in Of(request, 1))
        {
            AddResource(resource.Bytes);
            foreach (Field scope in Of(resource.Bytes, 2))
            {
                string name = Of(scope.Bytes, 1).Select(one => Text(one.Bytes, 1)).FirstOrDefault("");
                foreach (Field metric in Of(scope.Bytes, 2))
                {
                    ReceivedMetric received = Metric(name, metric.Bytes);
                    Metrics[received.Name] = received;
                }
            }
        }
    }

    private void AddTraces(byte[] request)
    {
        foreach (Field resource in Of(request, 1))
        {
            AddResource(resource.Bytes);
            foreach (Field scope in Of(resource.Bytes, 2))
            {
                string name = Of(scope.Bytes, 1).Select(one => Text(one.Bytes, 1)).FirstOrDefault("");
                foreach (Field span in Of(scope.Bytes, 2))
                {
                    Spans.Enqueue(new ReceivedSpan(
                        name, Text(span.Bytes, 5), Hex(span.Bytes, 2), Hex(span.Bytes, 4),
                        Attributes(span.Bytes, 9)));
                }
            }
        }
    }

    private void AddResource(byte[] resourceOf)
    {
        foreach (Field resource in Of(resourceOf, 1))
        {
            foreach ((string key, object value) in Attributes(resource.Bytes, 1))
            {
                Resource[key] = value;
            }
        }
    }

    private static ReceivedMetric Metric(string scope, byte[] metric)
    {
        Field data = Fields(metric).First(field => field.Number is 5 or 7 or 9);
        bool histogram = data.Number == 9;
        bool monotonic = Of(data.Bytes, 3).Any(one => one.Value != 0);
        byte[][] points = [.. Of(data.Bytes, 1).Select(point => point.Bytes)];
        return new ReceivedMetric(
            scope, Text(metric, 1), Text(metric, 3), Text(metric, 2),
            histogram ? "histogram" : data.Number == 5 ? "gauge" : monotonic ? "counter" : "up-down counter",
            [.. points.Select(point => Attributes(point, histogram ? 9 : 7))])
        {
            Bounds = histogram ? [.. Of(points[0], 7).SelectMany(packed => Doubles(packed.Bytes))] : [],
        };
    }

    private static IEnumerable<double> Doubles(byte[] packed) =>
        packed.Chunk(8).Select(eight => BitConverter.ToDouble(eight));

    private static Dictionary<string, object> Attributes(byte[] message, int number) =>
        Of(message, number).ToDictionary(pair => Text(pair.Bytes, 1), pair => Value(Of(pair.Bytes, 2).First().Bytes));

    private static object Value(byte[] any)
    {
        Field value = Fields(any).First();
        return value.Number switch
        {
            1 => System.Text.Encoding.UTF8.GetString(value.Bytes),
            2 => value.Value != 0,
            3 => (long)value.Value,
            4 => BitConverter.UInt64BitsToDouble(value.Value),
            _ => value.Bytes,
        };
    }

    private static string Text(byte[] message, int number) =>
        Of(message, number).Select(field => System.Text.Encoding.UTF8.GetString(field.Bytes)).FirstOrDefault("");

    private static string Hex(byte[] message, int number) =>
        Of(message, number).Select(field => Convert.ToHexString(field.Bytes)).FirstOrDefault("");

    private static IEnumerable<Field> Of(byte[] message, int number) =>
        Fields(message).Where(field => field.Number == number);

    private static List<Field> Fields(byte[] message)
    {
        CodedInputStream input = new(message);
        List<Field> fields = [];
        uint tag;
        while ((tag = input.ReadTag()) != 0)
        {
            int number = WireFormat.GetTagFieldNumber(tag);
            fields.Add(WireFormat.GetTagWireType(tag) switch
            {
                WireFormat.WireType.Varint => new Field(number, input.ReadUInt64(), []),
                WireFormat.WireType.Fixed64 => new Field(number, input.ReadFixed64(), []),
                WireFormat.WireType.Fixed32 => new Field(number, input.ReadFixed32(), []),
                WireFormat.WireType.LengthDelimited => new Field(number, 0, input.ReadBytes().ToByteArray()),
                _ => throw new InvalidDataException($"field {number}"),
            });
        }

        return fields;
    }

    private readonly record struct Field(int Number, ulong Value, byte[] Bytes);
}
