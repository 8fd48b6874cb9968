// The app that tests/packages/run publishes in every way. It answers, and says what serves and what the start has cost.
using System.Runtime;

var builder = WebApplication.CreateSlimBuilder(args);
#if MEGAPIPE
builder.WebHost.UseMegaPipe();
#endif
var app = builder.Build();
app.MapGet("/", () => "Hello, World!");
app.MapGet("/transport", (IServiceProvider services) =>
{
#if MEGAPIPE
    var status = services.GetRequiredService<MegaPipe.Kestrel.MegaPipeStatus>();
    return $"{status.Transport}\n{status.FallbackReason}\n{JitInfo.GetCompiledMethodCount()}\n{Environment.Version}";
#else
    return $"stock\n\n{JitInfo.GetCompiledMethodCount()}\n{Environment.Version}";
#endif
});
app.Run();
