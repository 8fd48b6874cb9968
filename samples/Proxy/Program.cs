// A gateway: what it serves and what it asks of its backend are on the same channels. One line for each side.
using Proxy;
using WebApp;

const string Help = """
      --backend none                                the backend is somebody else's; else the sample serves it, too

    Routes: /call/{path}, through HttpClient; / /transport /megapipe; everything else goes through YARP
    """;

return await SampleHost.RunAsync(args, Help, WebApplication.CreateBuilder, async (builder, arguments) =>
{
    IReverseProxyBuilder proxy =
        builder.Services.AddReverseProxy().LoadFromConfig(builder.Configuration.GetSection("ReverseProxy"));
    IHttpClientBuilder client = builder.Services.AddHttpClient(CallRoute.Client).UseSocketsHttpHandler(
        (handler, _) => handler.SslOptions.RemoteCertificateValidationCallback = CallRoute.AcceptOwnMachine);
    SampleHost.UseTransport(builder, arguments); // from clients: UseMegaPipe(), unless --transport names another
    if (arguments.Transport == SampleTransport.MegaPipe)
    {
        proxy.UseMegaPipeClient(); // to backends, through YARP
        client.UseMegaPipe();      // to backends, through HttpClient
    }

    await using WebApplication app = SampleHost.Build(builder, arguments);
    StatusRoutes.Map(app);
    CallRoute.Map(app);
    app.MapReverseProxy();

    await using WebApplication? backend = await Backend.StartAsync(builder.Configuration);
    await app.RunAsync();
}, ownArgument: "backend");
