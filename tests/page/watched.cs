// The server of tests/page/overhead: what watches it can be switched on and off while it serves.
#:sdk Microsoft.NET.Sdk.Web
#:property PublishAot=false
#:property JsonSerializerIsReflectionEnabledByDefault=true
#:package OpenTelemetry.Extensions.Hosting
#:project ../../src/MegaPipe.Kestrel/MegaPipe.Kestrel.csproj
#:project ../../src/MegaPipe.Kestrel.Page/MegaPipe.Kestrel.Page.csproj
using System.Runtime;
using OpenTelemetry;
using OpenTelemetry.Metrics;

WebApplicationBuilder builder = WebApplication.CreateSlimBuilder(args);
builder.Logging.ClearProviders();
builder.WebHost.UseMegaPipe();
WebApplication app = builder.Build();
app.MapMegaPipe("/megapipe");
app.MapGet("/quick", () => "Hello, World!");

// Those of the server and of the host are exported all the time.
using MeterProvider always = Export("Microsoft.AspNetCore.Server.Kestrel", "Microsoft.AspNetCore.Hosting");
MeterProvider? watching = null;
app.MapGet("/on", () =>
{
    watching = Export("MegaPipe.Kestrel");
    return "on";
});
app.MapGet("/off", () =>
{
    watching?.Dispose();
    watching = null;
    return $"{Reader.Points} points, {JitInfo.GetCompiledMethodCount()} methods";
});
app.Run();

// As often as the page of samples/Observed would be scraped in a hurry.
static MeterProvider Export(params string[] meters) => Sdk.CreateMeterProviderBuilder().AddMeter(meters)
    .AddReader(new PeriodicExportingMetricReader(new Reader(), exportIntervalMilliseconds: 2_000)).Build();

/// <summary>Walks over all that an exporter would send.</summary>
internal sealed class Reader : BaseExporter<Metric>
{
    public static long Points { get; private set; }

    public override ExportResult Export(in Batch<Metric> batch)
    {
        foreach (Metric metric in batch)
        {
            foreach (ref readonly MetricPoint point in metric.GetMetricPoints())
            {
                Points++;
                foreach (KeyValuePair<string, object?> _ in point.Tags)
                {
                }
            }
        }

        return ExportResult.Success;
    }
}
