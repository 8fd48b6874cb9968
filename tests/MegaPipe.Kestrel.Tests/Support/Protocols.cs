// The protocols that host tests are parameterized with.
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class Protocols
{
    /// <summary>http1 and h2c in clear; tls is HTTP/1.1 and h2 is HTTP/2 under TLS.</summary>
    public static void Configure(ListenOptions listen, string protocol)
    {
        listen.Protocols = protocol is "h2" or "h2c" ? HttpProtocols.Http2 : HttpProtocols.Http1;
        if (protocol is "tls" or "h2")
        {
            listen.UseHttps(TestCertificate.Instance);
        }
    }
}
