// The copy of a SocketsHttpHandler: a setting that the runtime adds must not be forgotten.
using System.Net;
using System.Reflection;
using System.Text;
using MegaPipe.Kestrel.Internal.Connecting;

namespace MegaPipe.Kestrel.Tests.Connecting;

[Trait("Area", "HttpClient")]
public sealed class HttpHandlerCopyTests
{
    [Fact]
    public void Copy_EverySetting_IsThere()
    {
        using SocketsHttpHandler from = new();
        PropertyInfo[] settings =
        [
            .. typeof(SocketsHttpHandler).GetProperties().Where(property => property is
            {
                CanWrite: true, Name: not nameof(SocketsHttpHandler.ConnectCallback),
            }),
        ];
        foreach (PropertyInfo setting in settings)
        {
            setting.SetValue(from, Other(setting, from));
        }

        from.Properties["key"] = "value";
        using SocketsHttpHandler to = HttpHandlerCopy.Of(from);
        using SocketsHttpHandler untouched = new();
        Assert.All(settings, setting =>
        {
            Assert.Equal(setting.GetValue(from), setting.GetValue(to));
            Assert.NotEqual(setting.GetValue(untouched), setting.GetValue(to));
        });
        Assert.Equal("value", to.Properties["key"]);
    }

    /// <summary>A value that is not the default.</summary>
    private static object Other(PropertyInfo setting, SocketsHttpHandler from) => setting.GetValue(from) switch
    {
        bool value => !value,
        int.MaxValue => 7,
        int value => value + 1024,
        TimeSpan value => value > TimeSpan.Zero && value < TimeSpan.FromDays(1) ? value * 2 : TimeSpan.FromSeconds(9),
        DecompressionMethods => DecompressionMethods.Brotli,
        HttpKeepAlivePingPolicy value => value == HttpKeepAlivePingPolicy.Always
            ? HttpKeepAlivePingPolicy.WithActiveRequests
            : HttpKeepAlivePingPolicy.Always,
        _ => setting.Name switch
        {
            nameof(SocketsHttpHandler.ActivityHeadersPropagator) =>
                System.Diagnostics.DistributedContextPropagator.CreateNoOutputPropagator(),
            nameof(SocketsHttpHandler.CookieContainer) => new CookieContainer(),
            nameof(SocketsHttpHandler.Credentials) or nameof(SocketsHttpHandler.DefaultProxyCredentials) =>
                new NetworkCredential("user", "word"),
            nameof(SocketsHttpHandler.MeterFactory) => new NoMeters(),
            nameof(SocketsHttpHandler.PlaintextStreamFilter) =>
                (Func<SocketsHttpPlaintextStreamFilterContext, CancellationToken, ValueTask<Stream>>)(
                    (context, _) => ValueTask.FromResult(context.PlaintextStream)),
            nameof(SocketsHttpHandler.Proxy) => new WebProxy("http://localhost:1"),
            nameof(SocketsHttpHandler.RequestHeaderEncodingSelector) or
                nameof(SocketsHttpHandler.ResponseHeaderEncodingSelector) =>
                (HeaderEncodingSelector<HttpRequestMessage>)((_, _) => Encoding.UTF8),
            nameof(SocketsHttpHandler.SslOptions) => new System.Net.Security.SslClientAuthenticationOptions(),
            _ => throw new NotSupportedException($"{setting.Name} is new: copy it, and say here what else it can be"),
        },
    };

    private sealed class NoMeters : System.Diagnostics.Metrics.IMeterFactory
    {
        public System.Diagnostics.Metrics.Meter Create(System.Diagnostics.Metrics.MeterOptions options) => new(options);

        public void Dispose()
        {
        }
    }
}
