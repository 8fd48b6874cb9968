// A web host builder that only collects services, so that UseSockets and UseMegaPipe can be used without a host.
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Support;

internal sealed class ServicesOnlyWebHostBuilder(IServiceCollection services) : IWebHostBuilder
{
    private readonly WebHostBuilderContext _context = new() { Configuration = new ConfigurationBuilder().Build() };

    public IWebHostBuilder ConfigureServices(Action<IServiceCollection> configureServices)
    {
        configureServices(services);
        return this;
    }

    public IWebHostBuilder ConfigureServices(Action<WebHostBuilderContext, IServiceCollection> configureServices)
    {
        configureServices(_context, services);
        return this;
    }

    public IWebHost Build() => throw new NotSupportedException();

    public IWebHostBuilder ConfigureAppConfiguration(
        Action<WebHostBuilderContext, IConfigurationBuilder> configureDelegate) => this;

    public string? GetSetting(string key) => null;

    public IWebHostBuilder UseSetting(string key, string? value) => this;
}
