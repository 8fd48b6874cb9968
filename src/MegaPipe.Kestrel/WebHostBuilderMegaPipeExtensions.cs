// The one line that switches MegaPipe on.
using MegaPipe.Kestrel;
using Microsoft.Extensions.DependencyInjection;

namespace Microsoft.AspNetCore.Hosting;

/// <summary>Switches Kestrel's transport to MegaPipe.</summary>
public static class WebHostBuilderMegaPipeExtensions
{
    /// <summary>
    /// Serves Kestrel's TCP and Unix-socket endpoints through MegaPipe channels; where io_uring cannot be used the
    /// stock Sockets transport serves, after one warning. Options come from the <c>MegaPipe</c> configuration section.
    /// </summary>
    public static IWebHostBuilder UseMegaPipe(this IWebHostBuilder hostBuilder) =>
        hostBuilder.ConfigureServices(services => services.AddMegaPipe());

    /// <summary>As <see cref="UseMegaPipe(IWebHostBuilder)"/>, with options that win over configuration.</summary>
    public static IWebHostBuilder UseMegaPipe(
        this IWebHostBuilder hostBuilder, Action<MegaPipeTransportOptions> configure) =>
        hostBuilder.ConfigureServices(services => services.AddMegaPipe(configure));
}
