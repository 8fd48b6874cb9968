// A whole app on MegaPipe. The second line is the only one that an app without it does not have.
var builder = WebApplication.CreateBuilder(args);
builder.WebHost.UseMegaPipe();
var app = builder.Build();
app.MapGet("/", () => "Hello, World!");
app.MapGet("/transport", (MegaPipe.Kestrel.MegaPipeStatus status) => status.Transport);
app.Run();
