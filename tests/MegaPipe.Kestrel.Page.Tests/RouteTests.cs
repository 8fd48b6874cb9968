// The page's three endpoints, without a browser.
using System.Net;
using System.Security.Claims;
using System.Text.Json;
using MegaPipe.Kestrel.Page.Internal;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel.Page.Tests;

public sealed class RouteTests
{
    private static readonly string[] s_paths = ["/megapipe", "/megapipe/state", "/megapipe/events"];

    [Fact]
    public async Task Page_IsOneFileWithAPolicyThatAllowsItselfOnly()
    {
        await using PageHost host = await PageHost.StartAsync();
        using HttpResponseMessage response = await host.Client.GetAsync("/megapipe");
        string html = await response.Content.ReadAsStringAsync();
        Assert.Equal("text/html; charset=utf-8", response.Content.Headers.ContentType!.ToString());
        Assert.DoesNotMatch(@"(src|href)=""(?!data:)", html);
        Assert.DoesNotContain("/*script*/", html, StringComparison.Ordinal);
        Assert.DoesNotContain(" style=", html, StringComparison.Ordinal);
        string policy = Assert.Single(response.Headers.GetValues("Content-Security-Policy"));
        Assert.StartsWith("default-src 'none'; script-src 'sha256-", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
        Assert.Equal("no-store", response.Headers.CacheControl!.ToString());
    }

    [Fact]
    public async Task State_IsJsonOfWhatThePageShows()
    {
        await using PageHost host = await PageHost.StartAsync();
        using JsonDocument state = JsonDocument.Parse(await host.Client.GetStringAsync("/megapipe/state"));
        JsonElement root = state.RootElement;
        Assert.Equal("megapipe", root.GetProperty("transport").GetString());
        Assert.Equal(Environment.ProcessId, root.GetProperty("process").GetProperty("id").GetInt32());
        Assert.Equal("2", root.GetProperty("options").GetProperty("Channels").GetString());
        Assert.Contains(
            root.GetProperty("features").EnumerateArray(),
            feature => feature.GetProperty("name").GetString() == "ring");
        Assert.Equal(2, root.GetProperty("channels").GetArrayLength());
        Assert.Equal(2, root.GetProperty("now").GetProperty("sample").GetProperty("channels").GetArrayLength());
    }

    [Fact]
    public async Task Events_BringASampleEachSecondAndEndWithTheHost()
    {
        await using PageHost host = await PageHost.StartAsync();
        using HttpResponseMessage response = await host.Client.GetAsync(
            "/megapipe/events", HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.ToString());
        using StreamReader reader = new(await response.Content.ReadAsStreamAsync());
        for (int i = 0; i < 2; i++)
        {
            string? line = await reader.ReadLineAsync().WaitAsync(TimeSpan.FromSeconds(30));
            Assert.StartsWith("data: ", line, StringComparison.Ordinal);
            using JsonDocument update = JsonDocument.Parse(line![6..]);
            Assert.Equal(2, update.RootElement.GetProperty("sample").GetProperty("channels").GetArrayLength());
            Assert.Equal("", await reader.ReadLineAsync());
        }

        await host.StopAsync().WaitAsync(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task Events_OfMorePagesThanMayBeOpen_AreRefusedUntilOneIsClosed()
    {
        await using PageHost host = await PageHost.StartAsync();
        Task<HttpResponseMessage> Open() => host.Client.GetAsync(
            "/megapipe/events", HttpCompletionOption.ResponseHeadersRead);
        Stack<HttpResponseMessage> open = [];
        while (open.Count < PageRoutes.MaxStreams)
        {
            open.Push(await Open());
            Assert.Equal(HttpStatusCode.OK, open.Peek().StatusCode);
        }

        using HttpResponseMessage refused = await Open();
        Assert.Equal(HttpStatusCode.ServiceUnavailable, refused.StatusCode);
        open.Pop().Dispose();
        long end = Environment.TickCount64 + 30_000;
        while (true)
        {
            using HttpResponseMessage again = await Open();
            if (again.StatusCode == HttpStatusCode.OK)
            {
                break;
            }

            Assert.True(Environment.TickCount64 < end);
            await Task.Delay(20);
        }

        while (open.TryPop(out HttpResponseMessage? response))
        {
            response.Dispose();
        }
    }

    [Fact]
    public async Task EverythingIsReadOnly()
    {
        await using PageHost host = await PageHost.StartAsync();
        foreach (string path in s_paths)
        {
            using HttpResponseMessage response = await host.Client.PostAsync(path, null);
            Assert.Equal(HttpStatusCode.MethodNotAllowed, response.StatusCode);
        }
    }

    [Fact]
    public async Task WithoutMapMegaPipe_NothingIsThere()
    {
        await using PageHost host = await PageHost.StartAsync();
        using HttpResponseMessage response = await host.Client.GetAsync("/other/state");
        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
    }

    [Fact]
    public async Task RequireAuthorization_CountsForAllThree()
    {
        await using PageHost host = await PageHost.StartAsync(
            page => page.RequireAuthorization(),
            services: services =>
            {
                services.AddAuthentication("key").AddScheme<AuthenticationSchemeOptions, KeyHandler>("key", null);
                services.AddAuthorization();
            },
            before: app =>
            {
                app.UseRouting();
                app.UseAuthentication();
                app.UseAuthorization();
            });
        foreach (string path in s_paths)
        {
            using HttpResponseMessage refused = await host.Client.GetAsync(path);
            Assert.Equal(HttpStatusCode.Unauthorized, refused.StatusCode);
            using HttpRequestMessage request = new(HttpMethod.Get, path);
            request.Headers.Add("Key", "right");
            using HttpResponseMessage allowed = await host.Client.SendAsync(
                request, HttpCompletionOption.ResponseHeadersRead);
            Assert.Equal(HttpStatusCode.OK, allowed.StatusCode);
        }
    }

    [Fact]
    public async Task WithoutUseMegaPipe_MappingSaysWhatIsMissing()
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        await using WebApplication app = builder.Build();
        InvalidOperationException error = Assert.Throws<InvalidOperationException>(() => app.MapMegaPipe());
        Assert.Contains("UseMegaPipe", error.Message, StringComparison.Ordinal);
    }

    private sealed class KeyHandler(
        IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory logger,
        System.Text.Encodings.Web.UrlEncoder encoder)
        : AuthenticationHandler<AuthenticationSchemeOptions>(options, logger, encoder)
    {
        protected override Task<AuthenticateResult> HandleAuthenticateAsync() => Task.FromResult(
            Request.Headers["Key"] == "right"
                ? AuthenticateResult.Success(
                    new AuthenticationTicket(new ClaimsPrincipal(new ClaimsIdentity("key")), "key"))
                : AuthenticateResult.NoResult());
    }
}
