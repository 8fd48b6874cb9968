// An app that shows what it does: metrics and traces by OTLP and for Prometheus, health checks, the live page.
using System.Diagnostics;
using Microsoft.AspNetCore.Diagnostics.HealthChecks;
using OpenTelemetry;
using OpenTelemetry.Metrics;
using OpenTelemetry.Trace;

WebApplicationBuilder builder = WebApplication.CreateBuilder(args);
builder.WebHost.UseMegaPipe();

// The .NET Aspire dashboard and every collector set these two: OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_SERVICE_NAME.
OpenTelemetryBuilder telemetry = builder.Services.AddOpenTelemetry()
    .WithMetrics(metrics => metrics
        .AddMeter(builder.Configuration.GetSection("Meters").Get<string[]>() ?? [])
        .AddRuntimeInstrumentation()
        .AddPrometheusExporter())
    .WithTracing(traces => traces.AddSource("MegaPipe.Kestrel").AddAspNetCoreInstrumentation());
if (builder.Configuration["OTEL_EXPORTER_OTLP_ENDPOINT"] is { Length: > 0 })
{
    telemetry.UseOtlpExporter();
}

// Five seconds in which /ready says no and the app still serves: a load balancer asks about that often.
builder.Services.AddHealthChecks().AddMegaPipe(options => options.DrainDelay = TimeSpan.FromSeconds(5));

// A button on the page that samples where in the code the threads are that block.
builder.Services.AddMegaPipeStacks();

WebApplication app = builder.Build();
app.MapMegaPipe("/megapipe");                    // behind .RequireAuthorization() where others can reach it
app.MapPrometheusScrapingEndpoint("/metrics");
app.MapHealthChecks("/health");
app.MapHealthChecks("/alive", new HealthCheckOptions { Predicate = _ => false });
app.MapHealthChecks("/ready", new HealthCheckOptions { Predicate = check => check.Tags.Contains("ready") });

// One that is as it should be, and three of the kind that the page is there for.
Lock stock = new();
app.MapGet("/", () => Results.Redirect("/megapipe"));
app.MapGet("/quick", () => "Hello, World!");
app.MapGet("/orders/{id:int}", (int id) =>
{
    return Task.Delay(15).ContinueWith(_ => $"order {id}", TaskScheduler.Default).Result;
});
app.MapGet("/stock", () =>
{
    lock (stock)
    {
        Thread.Sleep(5);
        return "in stock";
    }
});
app.MapGet("/report", () =>
{
    long end = Stopwatch.GetTimestamp() + (Stopwatch.Frequency / 50);
    while (Stopwatch.GetTimestamp() < end)
    {
    }

    return "computed for 20 ms";
});
app.Run();
