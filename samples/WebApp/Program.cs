// The sample host: picks the transport, binds the endpoints, maps the routes.
using System.Net.Sockets;
using MegaPipe.Kestrel;
using WebApp;

if (args.Any(argument => argument is "--help" or "-h" or "-?"))
{
    Console.WriteLine(SampleArguments.Help);
    return 0;
}

WebApplicationBuilder builder;
SampleArguments arguments;
try
{
    SampleArguments.Check(args);
    builder = WebApplication.CreateSlimBuilder(new WebApplicationOptions
    {
        Args = args,
        // Benchmarks start the app from other folders; without its appsettings.json it would log every request.
        ContentRootPath = AppContext.BaseDirectory,
    });
    arguments = SampleArguments.Read(builder.Configuration);
}
catch (FormatException wrong)
{
    Console.Error.WriteLine($"WebApp: {wrong.Message}");
    return 2;
}

switch (arguments.Transport)
{
    case SampleTransport.MegaPipe:
        builder.WebHost.UseMegaPipe();
        break;
    case SampleTransport.Sockets:
        builder.WebHost.UseSockets();
        break;
    default:
        builder.WebHost.UseSockets(options => options.UnsafePreferInlineScheduling = true);
        break;
}

Endpoints.Configure(builder, arguments);
builder.WebHost.ConfigureKestrel(options => options.Limits.MaxRequestBodySize = null);
// A request that is still being served (say /delay/600000) holds Ctrl+C no longer than this.
builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(5));
// What stops the start is said below, in one line; the host would log it with its stack.
builder.Logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None);
builder.Services.AddSingleton(arguments);
builder.Services.AddSingleton<TransportReporter>();

try
{
    await using WebApplication app = builder.Build();
    Endpoints.AddPorts(app, arguments);
    FastRoutes.Use(app);
    app.UseRouting();
    app.UseWebSockets();
    Routes.Map(app);
    WebSocketRoute.Map(app);
    StatusRoutes.Map(app);
    await app.RunAsync();
    return 0;
}
catch (Exception exception) when (exception is IOException or SocketException or FormatException
    or InvalidOperationException or PlatformNotSupportedException
    or Microsoft.Extensions.Options.OptionsValidationException)
{
    // Address in use, a wrong URL, a wrong option, no io_uring with Fallback=Fail: the last line says what to change.
    Console.Error.WriteLine($"WebApp: {exception.Message}");
    return 1;
}
