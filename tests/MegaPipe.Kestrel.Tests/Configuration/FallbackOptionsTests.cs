// What the fallback serves with: the application's own SocketTransportOptions, on them those of MegaPipe's options that
// were given a value, and what only MegaPipe has.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel.Tests.Configuration;

[Trait("Area", "Fallback")]
public sealed class FallbackOptionsTests
{
    [Fact]
    public async Task Options_NothingOfOursGiven_TheApplicationsStand()
    {
        SocketTransportOptions sockets = await ResolveAsync(_ => { }, Configure);
        Assert.Equal(1234, sockets.Backlog);
        Assert.False(sockets.NoDelay);
        Assert.Equal(111_111, sockets.MaxReadBufferSize);
        Assert.Null(sockets.MaxWriteBufferSize);
        Assert.Equal(3, sockets.IOQueueCount);
        Assert.True(sockets.UnsafePreferInlineScheduling);
        Assert.False(sockets.WaitForDataBeforeAllocatingBuffer);
        Assert.Equal(s_create, sockets.CreateBoundListenSocket);
    }

    [Fact]
    public async Task Options_OursGivenInCode_WinAndTheRestStands()
    {
        SocketTransportOptions sockets = await ResolveAsync(
            options =>
            {
                options.Backlog = 77;
                options.MaxWriteBufferSize = 65_536; // its default, but given
                options.MaxReadBufferSize = null;
            },
            Configure);
        Assert.Equal(77, sockets.Backlog);
        Assert.Equal(65_536, sockets.MaxWriteBufferSize);
        Assert.Null(sockets.MaxReadBufferSize);
        Assert.False(sockets.NoDelay);
        Assert.Equal(3, sockets.IOQueueCount);
    }

    [Fact]
    public async Task Options_OursGivenInConfiguration_Win()
    {
        SocketTransportOptions sockets =
            await ResolveAsync(_ => { }, Configure, ("NoDelay", "true"), ("MaxReadBufferSize", "222222"));
        Assert.True(sockets.NoDelay);
        Assert.Equal(222_222, sockets.MaxReadBufferSize);
        Assert.Equal(1234, sockets.Backlog);
    }

    [Fact]
    public async Task Options_NoneAtAll_AreStocks()
    {
        SocketTransportOptions sockets = await ResolveAsync(_ => { }, _ => { });
        SocketTransportOptions stock = new();
        Assert.Equal(stock.Backlog, sockets.Backlog);
        Assert.Equal(stock.NoDelay, sockets.NoDelay);
        Assert.Equal(stock.MaxReadBufferSize, sockets.MaxReadBufferSize);
        Assert.Equal(stock.MaxWriteBufferSize, sockets.MaxWriteBufferSize);
        Assert.Equal(stock.CreateBoundListenSocket, sockets.CreateBoundListenSocket);
    }

    [Fact]
    public async Task Status_AfterAFallback_HasWhatTheStockTransportServesWith()
    {
        await using WebApplication app = Build(_ => { }, Configure, []);
        await app.StartAsync().InTime();
        MegaPipeStatus status = app.Services.GetRequiredService<MegaPipeStatus>();
        await app.StopAsync().InTime();
        Assert.Equal("sockets", status.Transport);
        Assert.Equal("1234", status.Options["Backlog"]);
        Assert.Equal("False", status.Options["NoDelay"]);
        Assert.Equal("unlimited", status.Options["MaxWriteBufferSize"]);
    }

    [Theory]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeFallback)]
    public async Task ShareAddress_OnlyWhereBothSay_BothListen(TransportKind kind)
    {
        await using TransportHarness first = TransportHarness.Create(kind, settings =>
            settings.MegaPipe = options => options.ShareAddress = true);
        IConnectionListener listener = await first.BindAsync();
        await using (TransportHarness second = TransportHarness.Create(kind, settings =>
            settings.MegaPipe = options => options.ShareAddress = true))
        {
            Assert.Equal(listener.EndPoint, (await second.BindAsync(listener.EndPoint)).EndPoint);
        }

        await using TransportHarness third = TransportHarness.Create(kind);
        await Assert.ThrowsAsync<AddressInUseException>(() => third.BindAsync(listener.EndPoint));
    }

    [Theory]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeFallback)]
    public async Task ShareAddress_AStrangerHasIt_IsInUse(TransportKind kind)
    {
        using Socket stranger = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        stranger.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        stranger.Listen();
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MegaPipe = options => options.ShareAddress = true);
        await Assert.ThrowsAsync<AddressInUseException>(() => harness.BindAsync(stranger.LocalEndPoint));
    }

    [Theory]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeFallback)]
    public async Task ShareAddress_EveryAddress_ServesBothFamilies(TransportKind kind)
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MegaPipe = options => options.ShareAddress = true);
        IConnectionListener listener = await harness.BindAsync(new IPEndPoint(IPAddress.IPv6Any, 0));
        int port = ((IPEndPoint)listener.EndPoint).Port;
        foreach (IPAddress address in new[] { IPAddress.Loopback, IPAddress.IPv6Loopback })
        {
            Socket client = await harness.ConnectClientAsync(new IPEndPoint(address, port));
            ConnectionContext server = await harness.AcceptAsync(listener);
            await client.SendAllAsync("x");
            Assert.Equal("x"u8.ToArray(), await server.Transport.Input.ReadExactlyAsync(1));
        }
    }

    [Theory]
    [InlineData(TransportKind.MegaPipe, false)]
    [InlineData(TransportKind.MegaPipe, true)]
    [InlineData(TransportKind.MegaPipeLwsocketAlways, true)]
    [InlineData(TransportKind.MegaPipeNoLwsocket, false)]
    [InlineData(TransportKind.MegaPipeFallback, false)]
    [InlineData(TransportKind.MegaPipeFallback, true)]
    public async Task KeepAlive_Given_EveryConnectionHasItAndNoForeignListenerChanges(TransportKind kind, bool handle)
    {
        using Socket owner = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        owner.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        owner.Listen();
        Dictionary<string, string> before = SocketOptions.ReadAll(owner);
        await using TransportHarness harness = TransportHarness.Create(kind, settings => settings.MegaPipe = options =>
        {
            options.KeepAlive = true;
            options.KeepAliveTime = TimeSpan.FromSeconds(33);
            options.KeepAliveInterval = TimeSpan.FromSeconds(7);
            options.KeepAliveRetryCount = 4;
        });
        IConnectionListener listener = await harness.BindAsync(
            handle ? new FileHandleEndPoint((ulong)owner.Handle, FileHandleType.Auto) : null);
        for (int i = 0; i < 4; i++)
        {
            ConnectedPair pair = await harness.ConnectAsync(listener);
            Socket socket = pair.Server.Features.GetRequiredFeature<IConnectionSocketFeature>().Socket;
            Assert.NotEqual(0, socket.GetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive));
            Assert.Equal(33, socket.GetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime));
            Assert.Equal(7, socket.GetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval));
            Assert.Equal(4, socket.GetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount));
        }

        Assert.Equal(before, SocketOptions.ReadAll(owner));
    }

    private static readonly Func<EndPoint, Socket> s_create = endPoint =>
        SocketTransportOptions.CreateDefaultBoundListenSocket(endPoint);

    private static void Configure(SocketTransportOptions options)
    {
        options.Backlog = 1234;
        options.NoDelay = false;
        options.MaxReadBufferSize = 111_111;
        options.MaxWriteBufferSize = null;
        options.IOQueueCount = 3;
        options.UnsafePreferInlineScheduling = true;
        options.WaitForDataBeforeAllocatingBuffer = false;
        options.CreateBoundListenSocket = s_create;
    }

    /// <summary>The stock transport's options in a host that has fallen back.</summary>
    private static async Task<SocketTransportOptions> ResolveAsync(
        Action<MegaPipeTransportOptions> ours, Action<SocketTransportOptions> application,
        params (string Key, string? Value)[] configuration)
    {
        await using WebApplication app = Build(ours, application, configuration);
        await app.StartAsync().InTime();
        using HttpClient client = new();
        Assert.Equal("hello", await client.GetStringAsync(new Uri(app.Urls.Single())).InTime());
        await app.StopAsync().InTime();
        return app.Services.GetRequiredService<IOptions<SocketTransportOptions>>().Value;
    }

    private static WebApplication Build(
        Action<MegaPipeTransportOptions> ours, Action<SocketTransportOptions> application,
        (string Key, string? Value)[] configuration) => OptionCases.Build(
        OptionCases.InMemory(configuration),
        services => services.Configure(application),
        code: options =>
        {
            options.DeniedFor = "the test says so";
            ours(options);
        });
}
