// Endpoints as applications name them: localhost, any, URLs, Unix sockets; and what Kestrel says when in use.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class BindHostContract(TransportKind kind) : IDisposable
{
    private static readonly RequestDelegate Hello = context => context.Response.WriteAsync("hello");
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mp-host-");

    private string SocketPath => Path.Combine(_directory.FullName, "s.sock");

    public void Dispose() => _directory.Delete(recursive: true);

    [Fact]
    public async Task ListenLocalhost_IPv4AndIPv6_BothServe()
    {
        int port = FreePort();
        await using HostHarness host = await HostHarness.StartAsync(
            kind, Hello, setup => setup.Endpoints = options => options.ListenLocalhost(port));
        await host.AssertServesAsync(target: new IPEndPoint(IPAddress.Loopback, port));
        await host.AssertServesAsync(target: new IPEndPoint(IPAddress.IPv6Loopback, port));
    }

    [Fact]
    public async Task ListenAnyIP_IPv4AndIPv6_BothServe()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            kind, Hello, setup => setup.Endpoints = options => options.ListenAnyIP(0));
        int port = host.BaseAddress.Port;
        await host.AssertServesAsync(target: new IPEndPoint(IPAddress.Loopback, port));
        await host.AssertServesAsync(target: new IPEndPoint(IPAddress.IPv6Loopback, port));
    }

    [Fact]
    public async Task Listen_ManyEndPoints_EachServes()
    {
        await using HostHarness host = await HostHarness.StartAsync(kind, Hello, setup => setup.Endpoints = options =>
        {
            for (int i = 0; i < 5; i++)
            {
                options.Listen(IPAddress.Loopback, 0);
            }

            options.ListenUnixSocket(SocketPath);
        });
        Assert.Equal(6, host.Addresses.Count);
        foreach (string address in host.Addresses.Where(address => !address.Contains("unix", StringComparison.Ordinal)))
        {
            await host.AssertServesAsync(target: new IPEndPoint(IPAddress.Loopback, new Uri(address).Port));
        }

        await host.AssertServesAsync(target: new UnixDomainSocketEndPoint(SocketPath));
    }

    [Fact]
    public async Task Start_PortOfARunningHost_IOExceptionSaysInUseAndTheFirstServesOn()
    {
        await using HostHarness first = await HostHarness.StartAsync(kind, Hello);
        int port = first.BaseAddress.Port;
        IOException e = await Assert.ThrowsAsync<IOException>(() => HostHarness.StartAsync(
            kind, Hello, setup => setup.Endpoints = options => options.Listen(IPAddress.Loopback, port)));
        Assert.Equal($"Failed to bind to address http://127.0.0.1:{port}: address already in use.", e.Message);
        Assert.IsType<AddressInUseException>(e.InnerException);
        await first.AssertServesAsync();
    }

    [Fact]
    public async Task Start_SecondEndPointInUse_FirstEndPointIsFreedAgain()
    {
        await using HostHarness taken = await HostHarness.StartAsync(kind, Hello);
        int free = FreePort();
        await Assert.ThrowsAsync<IOException>(() => HostHarness.StartAsync(
            kind, Hello, setup => setup.Endpoints = options =>
            {
                options.Listen(IPAddress.Loopback, free);
                options.Listen(IPAddress.Loopback, taken.BaseAddress.Port);
            }));
        await using HostHarness host = await HostHarness.StartAsync(
            kind, Hello, setup => setup.Endpoints = options => options.Listen(IPAddress.Loopback, free));
        await host.AssertServesAsync();
    }

    [Fact]
    public async Task Start_AtOnceAfterStopOnTheSamePort_Serves()
    {
        int port;
        await using (HostHarness first = await HostHarness.StartAsync(kind, Hello))
        {
            port = first.BaseAddress.Port;
            await first.AssertServesAsync();
        }

        await using HostHarness second = await HostHarness.StartAsync(
            kind, Hello, setup => setup.Endpoints = options => options.Listen(IPAddress.Loopback, port));
        await second.AssertServesAsync();
    }

    [Fact]
    public async Task UnixSocket_HttpClient_ServesAndTheFileIsRemoved()
    {
        await using (HostHarness host = await HostHarness.StartAsync(
            kind, Hello, setup => setup.Endpoints = options => options.ListenUnixSocket(SocketPath)))
        {
            HttpClient client = host.CreateClient(target: new UnixDomainSocketEndPoint(SocketPath));
            for (int i = 0; i < 5; i++)
            {
                Assert.Equal("hello", await client.GetStringAsync(new Uri("/", UriKind.Relative)).InTime());
            }
        }

        Assert.False(File.Exists(SocketPath));
    }

    [Fact]
    public async Task UnixSocket_FileExists_IOExceptionSaysInUse()
    {
        await File.WriteAllTextAsync(SocketPath, "");
        IOException e = await Assert.ThrowsAsync<IOException>(() => HostHarness.StartAsync(
            kind, Hello, setup => setup.Endpoints = options => options.ListenUnixSocket(SocketPath)));
        Assert.Contains("address already in use", e.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ListenHandle_InheritedSocket_Serves()
    {
        using Socket owner = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        owner.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        await using (HostHarness host = await HostHarness.StartAsync(
            kind, Hello, setup => setup.Endpoints = options => options.ListenHandle((ulong)owner.Handle)))
        {
            await host.AssertServesAsync(target: owner.LocalEndPoint);
        }

        Assert.NotNull(owner.LocalEndPoint);
        owner.Listen();
    }

    [Fact]
    public async Task UnknownEndPointKind_FactoryThatBindsIt_IsUsedForItAndTheTransportForOthers()
    {
        OtherFactory other = new();
        await using HostHarness host = await HostHarness.StartAsync(kind, Hello, setup =>
        {
            setup.Services = services => services.AddSingleton<IConnectionListenerFactory>(other);
            setup.Endpoints = options =>
            {
                options.Listen(new OtherEndPoint());
                options.Listen(IPAddress.Loopback, 0);
            };
        });
        Assert.True(other.Bound);
        await host.AssertServesAsync(target: new IPEndPoint(
            IPAddress.Loopback,
            new Uri(host.Addresses.Single(address => address.Contains("127.0.0.1", StringComparison.Ordinal))).Port));
    }

    private static int FreePort()
    {
        using Socket socket = new(AddressFamily.InterNetworkV6, SocketType.Stream, ProtocolType.Tcp)
        {
            DualMode = true,
        };
        socket.Bind(new IPEndPoint(IPAddress.IPv6Any, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    private sealed class OtherEndPoint : EndPoint
    {
        public override string ToString() => "http://other:1";
    }

    private sealed class OtherFactory : IConnectionListenerFactory, IConnectionListenerFactorySelector
    {
        public bool Bound { get; private set; }

        public bool CanBind(EndPoint endpoint) => endpoint is OtherEndPoint;

        public ValueTask<IConnectionListener> BindAsync(
            EndPoint endpoint, CancellationToken cancellationToken = default)
        {
            Bound = true;
            return new(new OtherListener(endpoint));
        }
    }
}
