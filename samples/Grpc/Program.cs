// gRPC on each transport, with Grpc.AspNetCore: nothing but the one line for the transport is MegaPipe's.
using GrpcSample;
using WebApp;

const string Help = "Routes: the methods of /echo.Echo, over HTTP/2; / /transport /megapipe";

return await SampleHost.RunAsync(args, Help, WebApplication.CreateBuilder, async (builder, arguments) =>
{
    SampleHost.UseTransport(builder, arguments); // builder.WebHost.UseMegaPipe(), unless --transport names another
    builder.Services.AddGrpc();
    await using WebApplication app = SampleHost.Build(builder, arguments);
    StatusRoutes.Map(app);
    app.MapGrpcService<EchoService>();
    await app.RunAsync();
});
