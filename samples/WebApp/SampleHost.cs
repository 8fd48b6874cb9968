// What the samples share: arguments, the transport, where they listen, the one line that says why one cannot serve.
using System.Net.Sockets;
using MegaPipe.Kestrel;
using Microsoft.Extensions.Options;

namespace WebApp;

internal static class SampleHost
{
    private static readonly string s_name = typeof(SampleHost).Assembly.GetName().Name!;

    /// <summary>
    /// Runs a sample: <paramref name="serve"/> gets a builder that has <paramref name="create"/>'s defaults, and
    /// returns when the app has ended. <paramref name="help"/> ends the text of <c>--help</c>;
    /// <paramref name="ownArgument"/> is one that only this sample takes.
    /// </summary>
    /// <returns>0: ended as asked; 1: could not serve; 2: an argument is wrong.</returns>
    public static async Task<int> RunAsync(
        string[] args, string help, Func<WebApplicationOptions, WebApplicationBuilder> create,
        Func<WebApplicationBuilder, SampleArguments, Task> serve, string? ownArgument = null)
    {
        if (args.Any(argument => argument is "--help" or "-h" or "-?"))
        {
            Console.WriteLine($"{s_name}: a sample on MegaPipe for Kestrel\n\n{SampleArguments.Help}\n\n{help}");
            return 0;
        }

        WebApplicationBuilder builder;
        SampleArguments arguments;
        try
        {
            SampleArguments.Check(args, ownArgument);
            builder = create(new WebApplicationOptions
            {
                Args = args,
                // Benchmarks start the app from other folders; without its appsettings.json it would log every request.
                ContentRootPath = AppContext.BaseDirectory,
            });
            arguments = SampleArguments.Read(builder.Configuration);
        }
        catch (FormatException wrong)
        {
            Console.Error.WriteLine($"{s_name}: {wrong.Message}");
            return 2;
        }

        // A request that is still being served (say /delay/600000) holds Ctrl+C no longer than this.
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(5));
        // What stops the start is said below, in one line; the host would log it with its stack.
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting.Internal.Host", LogLevel.None);
        try
        {
            await serve(builder, arguments);
            return 0;
        }
        catch (Exception exception) when (exception is IOException or SocketException or FormatException
            or ArgumentException or InvalidOperationException or PlatformNotSupportedException
            or OptionsValidationException)
        {
            // Address in use, a wrong URL, a wrong option, no io_uring with Fallback=Fail: the last line says what to
            // change.
            Console.Error.WriteLine($"{s_name}: {Explain(exception, builder.Configuration, arguments)}");
            return 1;
        }
    }

    /// <summary>The line that switches an app's transport, and what <c>--transport</c> may have instead.</summary>
    public static void UseTransport(WebApplicationBuilder builder, SampleArguments arguments)
    {
        if (arguments.Transport == SampleTransport.MegaPipe)
        {
            builder.WebHost.UseMegaPipe();
        }
        else
        {
            builder.WebHost.UseSockets(
                options => options.UnsafePreferInlineScheduling = arguments.Transport == SampleTransport.SocketsInline);
        }
    }

    /// <summary>The app, which listens where the arguments say and can report what serves.</summary>
    public static WebApplication Build(WebApplicationBuilder builder, SampleArguments arguments)
    {
        Endpoints.Configure(builder, arguments);
        builder.Services.AddSingleton(arguments);
        builder.Services.AddSingleton<TransportReporter>();
        WebApplication app = builder.Build();
        Endpoints.AddPorts(app, arguments);
        return app;
    }

    /// <summary>Kestrel names an address only where it is in use; else there is the system's text alone.</summary>
    private static string Explain(
        Exception exception, ConfigurationManager configuration, SampleArguments arguments) =>
        exception is SocketException && !configuration.GetSection("Kestrel:Endpoints").Exists()
            ? $"cannot listen on {string.Join(", ", Endpoints.GetAddresses(configuration, arguments))}: " +
                exception.Message
            : exception.Message.ReplaceLineEndings(" ");
}
