// Where the sample listens: --urls, plus --https-port and --h2c-port on the same hosts, and a certificate for TLS.
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace WebApp;

internal static class Endpoints
{
    private const string DefaultUrl = "http://localhost:5000";

    // Not before: a little in the past, for clients whose clock is behind. Not after: a certificate lives as long as
    // its process; a year is longer than that.
    private static readonly TimeSpan s_clockSkew = TimeSpan.FromHours(1);
    private static readonly TimeSpan s_certificateLife = TimeSpan.FromDays(365);

    /// <summary>Makes TLS possible on every https address, also one that --urls names.</summary>
    public static void Configure(WebApplicationBuilder builder, SampleArguments arguments)
    {
        builder.WebHost.UseKestrelHttpsConfiguration();
        bool hasCertificate = builder.Configuration.GetSection("Kestrel:Certificates:Default").Exists();
        Lazy<X509Certificate2> certificate = new(CreateCertificate);
        builder.WebHost.ConfigureKestrel(options =>
        {
            if (!hasCertificate)
            {
                options.ConfigureHttpsDefaults(https => https.ServerCertificate = certificate.Value);
            }

            if (arguments.H2cPort is int h2cPort)
            {
                options.ConfigureEndpointDefaults(listen =>
                {
                    if (listen.EndPoint is IPEndPoint endpoint && endpoint.Port == h2cPort)
                    {
                        listen.Protocols = HttpProtocols.Http2;
                    }
                });
            }
        });
    }

    /// <summary>
    /// Adds the two ports beside --urls, on the same hosts. As addresses, not as Listen calls: after one Listen call
    /// Kestrel ignores every address.
    /// </summary>
    public static void AddPorts(WebApplication app, SampleArguments arguments)
    {
        if (arguments.HttpsPort is null && arguments.H2cPort is null)
        {
            return;
        }

        foreach (string address in GetAddresses(app.Configuration, arguments))
        {
            app.Urls.Add(address);
        }
    }

    /// <summary>Where the sample listens: --urls, and the two ports on the same hosts.</summary>
    public static IEnumerable<string> GetAddresses(IConfiguration configuration, SampleArguments arguments)
    {
        string[] urls = GetUrls(configuration);
        if (arguments.HttpsPort is null && arguments.H2cPort is null)
        {
            return urls;
        }

        string[] hosts = GetHosts(urls);
        return
        [
            .. urls,
            .. arguments.HttpsPort is int https ? hosts.Select(host => $"https://{host}:{https}") : [],
            .. arguments.H2cPort is int h2c ? hosts.Select(host => $"http://{host}:{h2c}") : [],
        ];
    }

    private static string[] GetUrls(IConfiguration configuration)
    {
        string[] urls = Split(configuration[WebHostDefaults.ServerUrlsKey]);
        if (urls.Length == 0)
        {
            urls = [.. Split(configuration["http_ports"]).Select(port => $"http://*:{port}"),
                .. Split(configuration["https_ports"]).Select(port => $"https://*:{port}")];
        }

        return urls.Length == 0 ? [DefaultUrl] : urls;
    }

    private static string[] Split(string? list) =>
        (list ?? "").Split(';', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    /// <summary>The hosts of the URLs, without those that another one covers: they would clash.</summary>
    private static string[] GetHosts(string[] urls)
    {
        string[] hosts = urls.Select(BindingAddress.Parse)
            .Where(address => !address.IsUnixPipe && !address.IsNamedPipe)
            .Select(address => address.Host)
            .Distinct(StringComparer.OrdinalIgnoreCase)
            .ToArray();
        if (hosts.FirstOrDefault(IsWildcard) is string wildcard)
        {
            return [wildcard];
        }

        if (hosts.Contains("localhost", StringComparer.OrdinalIgnoreCase))
        {
            hosts = [.. hosts.Where(
                host => !IPAddress.TryParse(host, out IPAddress? address) || !IPAddress.IsLoopback(address))];
        }

        return hosts.Length == 0 ? ["localhost"] : hosts;
    }

    // Kestrel binds every address for a host name that is neither "localhost" nor an address.
    private static bool IsWildcard(string host) =>
        !host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
        && (!IPAddress.TryParse(host, out IPAddress? address)
            || address.Equals(IPAddress.Any) || address.Equals(IPAddress.IPv6Any));

    private static X509Certificate2 CreateCertificate()
    {
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        CertificateRequest request = new("CN=localhost", key, HashAlgorithmName.SHA256);
        SubjectAlternativeNameBuilder names = new();
        names.AddDnsName("localhost");
        names.AddDnsName(Environment.MachineName);
        names.AddIpAddress(IPAddress.Loopback);
        names.AddIpAddress(IPAddress.IPv6Loopback);
        request.CertificateExtensions.Add(names.Build());
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(false, false, 0, critical: true));
        request.CertificateExtensions.Add(
            new X509KeyUsageExtension(X509KeyUsageFlags.DigitalSignature, critical: true));
        request.CertificateExtensions.Add(
            new X509EnhancedKeyUsageExtension([new Oid("1.3.6.1.5.5.7.3.1", "TLS server")], critical: false));
        DateTimeOffset now = DateTimeOffset.UtcNow;
        using X509Certificate2 certificate = request.CreateSelfSigned(now - s_clockSkew, now + s_certificateLife);
        // Through PKCS#12, because Windows refuses TLS with a key that lives in memory only.
        return X509CertificateLoader.LoadPkcs12(certificate.Export(X509ContentType.Pfx), password: null);
    }
}
