// gRPC on each transport, with Grpc.AspNetCore: nothing but the one line for the transport is MegaPipe's.
using GrpcSample;
using MegaPipe.Kestrel;
using WebApp;

WebApplicationBuilder builder = WebApplication.CreateBuilder(new WebApplicationOptions
{
    Args = args,
    ContentRootPath = AppContext.BaseDirectory, // where its appsettings.json lies
});
SampleArguments arguments;
try
{
    arguments = SampleArguments.Read(builder.Configuration);
}
catch (FormatException wrong)
{
    Console.Error.WriteLine($"Grpc: {wrong.Message}");
    return 2;
}

if (arguments.Transport == SampleTransport.MegaPipe)
{
    builder.WebHost.UseMegaPipe();
}
else
{
    builder.WebHost.UseSockets(
        options => options.UnsafePreferInlineScheduling = arguments.Transport == SampleTransport.SocketsInline);
}

Endpoints.Configure(builder, arguments);
builder.Services.AddSingleton(arguments);
builder.Services.AddSingleton<TransportReporter>();
builder.Services.AddGrpc();
await using WebApplication app = builder.Build();
Endpoints.AddPorts(app, arguments);
StatusRoutes.Map(app);
app.MapGrpcService<EchoService>();
await app.RunAsync();
return 0;
