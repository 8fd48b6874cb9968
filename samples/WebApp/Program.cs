// The sample host: one line for the transport, and the routes.
using WebApp;

const string Help = """
    Routes: / /plaintext /json /bytes/{n} /upload /echo /delay/{ms} /block/{ms} /spin/{ms} /nested /ws
            /transport /megapipe
    """;

return await SampleHost.RunAsync(args, Help, WebApplication.CreateSlimBuilder, async (builder, arguments) =>
{
    SampleHost.UseTransport(builder, arguments);
    builder.WebHost.ConfigureKestrel(options => options.Limits.MaxRequestBodySize = null);
    await using WebApplication app = SampleHost.Build(builder, arguments);
    FastRoutes.Use(app);
    app.UseRouting();
    app.UseWebSockets();
    Routes.Map(app);
    WebSocketRoute.Map(app);
    StatusRoutes.Map(app);
    await app.RunAsync();
});
