// A gateway: what it serves and what it asks of its backend are on the same channels. One line for each side.
using Proxy;
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
    Console.Error.WriteLine($"Proxy: {wrong.Message}");
    return 2;
}

IReverseProxyBuilder proxy =
    builder.Services.AddReverseProxy().LoadFromConfig(builder.Configuration.GetSection("ReverseProxy"));
IHttpClientBuilder client = builder.Services.AddHttpClient(CallRoute.Client).UseSocketsHttpHandler(
    (handler, _) => handler.SslOptions.RemoteCertificateValidationCallback = CallRoute.AcceptOwnMachine);
if (arguments.Transport == SampleTransport.MegaPipe)
{
    builder.WebHost.UseMegaPipe();  // from clients
    proxy.UseMegaPipeClient();      // to backends, through YARP
    client.UseMegaPipe();           // to backends, through HttpClient
}
else
{
    builder.WebHost.UseSockets(
        options => options.UnsafePreferInlineScheduling = arguments.Transport == SampleTransport.SocketsInline);
}

Endpoints.Configure(builder, arguments);
builder.Services.AddSingleton(arguments);
builder.Services.AddSingleton<TransportReporter>();
await using WebApplication app = builder.Build();
Endpoints.AddPorts(app, arguments);
StatusRoutes.Map(app);
CallRoute.Map(app);
app.MapReverseProxy();

await using WebApplication? backend = await Backend.StartAsync(builder.Configuration);
await app.RunAsync();
return 0;
