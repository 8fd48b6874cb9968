// The one line that puts a named or typed HttpClient on channels.
using MegaPipe.Kestrel;
using Microsoft.Extensions.Http;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Puts the clients of <c>AddHttpClient</c> on MegaPipe channels.</summary>
public static class HttpClientBuilderMegaPipeExtensions
{
    /// <summary>
    /// Sends this client's requests over connections on channels, those of the host's endpoints where
    /// <c>UseMegaPipe</c> serves them: see <see cref="MegaPipeHttpMessageHandler"/>. The primary handler that is set up
    /// before this line, with <c>UseSocketsHttpHandler</c> or by default, gives the settings; delegating handlers,
    /// policies and handler lifetimes stay as they are.
    /// </summary>
    /// <param name="builder">What <c>AddHttpClient</c> returned.</param>
    /// <exception cref="InvalidOperationException">
    /// When the first client is made: the primary handler is no <see cref="SocketsHttpHandler"/>.
    /// </exception>
    public static IHttpClientBuilder UseMegaPipe(this IHttpClientBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddMegaPipeConnections();
        builder.Services.Configure<HttpClientFactoryOptions>(
            builder.Name, static options => options.HttpMessageHandlerBuilderActions.Add(Replace));
        return builder;
    }

    private static void Replace(HttpMessageHandlerBuilder builder)
    {
        if (builder.PrimaryHandler is not SocketsHttpHandler template)
        {
            throw new InvalidOperationException(
                $"The client '{builder.Name}' has a {builder.PrimaryHandler.GetType().Name} as its primary handler. " +
                "UseMegaPipe() takes the settings of a SocketsHttpHandler: call UseSocketsHttpHandler() before it.");
        }

        builder.PrimaryHandler = new MegaPipeHttpMessageHandler(
            builder.Services.GetRequiredService<MegaPipeConnectionFactory>(), template);
    }
}
