// The lines that put a handler on channels: what they take, and what they refuse.
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Connecting;

[Trait("Area", "HttpClient")]
public sealed class HandlerExtensionTests
{
    [Fact]
    public async Task SocketsHttpHandler_UseMegaPipe_ConnectsThroughTheFactory()
    {
        await using HostHarness backend = await HostHarness.StartAsync(
            TransportKind.Sockets, context => context.Response.WriteAsync("Hello"));
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
        using HttpClient client = new(new SocketsHttpHandler { UseProxy = false }.UseMegaPipe(harness.Factory!));
        Assert.Equal("Hello", await client.GetStringAsync(backend.BaseAddress).InTime());
        Assert.Equal(1, LeakCheck.Sum(harness.Status, "connected"));
    }

    [Fact]
    public async Task Handler_ConnectsByItself_Refused()
    {
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
        using SocketsHttpHandler handler = new();
        handler.ConnectCallback = (_, _) => throw new NotSupportedException();
        Assert.Throws<ArgumentException>(() => handler.UseMegaPipe(harness.Factory!));
        Assert.Throws<ArgumentException>(() => new MegaPipeHttpMessageHandler(harness.Factory!, handler));
    }

    [Fact]
    public async Task AddHttpClient_UseMegaPipe_KeepsTheSettingsAndRefusesOtherHandlers()
    {
        ServiceCollection services = new();
        services.AddHttpClient("default").UseMegaPipe();
        services.AddHttpClient("set").UseSocketsHttpHandler((handler, _) => handler.AllowAutoRedirect = false)
            .UseMegaPipe();
        services.AddHttpClient("other").ConfigurePrimaryHttpMessageHandler(() => new HttpClientHandler()).UseMegaPipe();
        await using ServiceProvider provider = services.BuildServiceProvider();
        IHttpClientFactory clients = provider.GetRequiredService<IHttpClientFactory>();
        using HttpClient standard = clients.CreateClient("default");
        using HttpClient set = clients.CreateClient("set");
        InvalidOperationException error = Assert.Throws<InvalidOperationException>(() => clients.CreateClient("other"));
        Assert.Contains("'other' has a HttpClientHandler", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Handler_Disposed_RefusesAndItsConnectionsEnd()
    {
        await using HostHarness backend = await HostHarness.StartAsync(
            TransportKind.Sockets, context => context.Response.WriteAsync("Hello"));
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
        using HttpMessageInvoker invoker = new(new MegaPipeHttpMessageHandler(harness.Factory!));
        using HttpRequestMessage request = new(HttpMethod.Get, backend.BaseAddress);
        using (HttpResponseMessage response = await invoker.SendAsync(request, default).InTime())
        {
            Assert.Equal("Hello", await response.Content.ReadAsStringAsync().InTime());
        }

        invoker.Dispose();
        await Eventually.True(() => LeakCheck.Sum(harness.Status, "connections") == 0);
        using HttpRequestMessage late = new(HttpMethod.Get, backend.BaseAddress);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => invoker.SendAsync(late, default));
    }
}
