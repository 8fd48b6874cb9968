// One host takes over from another while clients open a connection for each request: every request is answered.
// tests/lossless/restart does the same with processes.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace MegaPipe.Kestrel.Tests.Host;

[Trait("Transport", "MegaPipe"), Trait("Area", "Takeover")]
public sealed class TakeoverTests : IDisposable
{
    private const int Clients = 4;
    private const int TakenOver = 109;
    private const int NoTakeover = 110;
    private const int TookOver = 111;

    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mp-takeover-");

    private string Place => Path.Combine(_directory.FullName, "takeover.sock");

    public void Dispose() => _directory.Delete(recursive: true);

    [Theory]
    [InlineData(2, 2, false)]
    [InlineData(1, 3, false)]
    [InlineData(3, 1, true)]
    public async Task Takeover_TcpUnderLoad_EveryRequestIsAnswered(int before, int after, bool abstractPlace)
    {
        string place = abstractPlace ? $"@mp-takeover-{Guid.NewGuid():N}" : Place;
        await using HostHarness old = await StartAsync("old", before, place, Tcp(0));
        Crowd crowd = Crowd.Start(old.EndPoint, Clients);
        await crowd.WarmAsync();
        await using HostHarness middle = await StartAsync("middle", after, place, Tcp(old.EndPoint.Port));
        await StopWhenToldAsync(old);
        await crowd.AnsweredAsync("middle");
        await using HostHarness last = await StartAsync("last", before, place, Tcp(old.EndPoint.Port));
        await StopWhenToldAsync(middle);
        await crowd.AnsweredAsync("last");
        await crowd.AssertAllAnsweredAsync();
        Assert.Equal((0, 1), (old.Logs.Count(TookOver), old.Logs.Count(TakenOver)));
        Assert.Equal((1, 1), (middle.Logs.Count(TookOver), middle.Logs.Count(TakenOver)));
        Assert.Equal((1, 0), (last.Logs.Count(TookOver), last.Logs.Count(TakenOver)));
    }

    [Fact]
    public async Task Takeover_UnixSocketUnderLoad_EveryRequestIsAnsweredAndTheLastOneRemovesTheFile()
    {
        string path = Path.Combine(_directory.FullName, "app.sock");
        await using HostHarness old = await StartAsync("old", 2, Place, kestrel => kestrel.ListenUnixSocket(path));
        Crowd crowd = Crowd.Start(new UnixDomainSocketEndPoint(path), Clients);
        await crowd.WarmAsync();
        await using HostHarness last = await StartAsync("last", 2, Place, kestrel => kestrel.ListenUnixSocket(path));
        await StopWhenToldAsync(old);
        await crowd.AnsweredAsync("last");
        await crowd.AssertAllAnsweredAsync();
        Assert.True(File.Exists(path));
        await last.StopAsync();
        Assert.False(File.Exists(path));
    }

    /// <summary>Inherited handles go to a successor that binds their address; no option of theirs changes.</summary>
    [Fact]
    public async Task Takeover_InheritedHandleUnderLoad_EveryRequestIsAnsweredAndTheHandleStays()
    {
        using Socket owner = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        owner.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        owner.Listen();
        IPEndPoint address = (IPEndPoint)owner.LocalEndPoint!;
        Dictionary<string, string> before = SocketOptions.ReadAll(owner);
        await using (HostHarness old = await StartAsync(
            "old", 2, Place, kestrel => kestrel.ListenHandle((ulong)owner.Handle)))
        {
            Crowd crowd = Crowd.Start(address, Clients);
            await crowd.WarmAsync();
            await using HostHarness last = await StartAsync("last", 2, Place, Tcp(address.Port));
            await StopWhenToldAsync(old);
            await crowd.AnsweredAsync("last");
            await crowd.AssertAllAnsweredAsync();
        }

        Assert.Equal(before, SocketOptions.ReadAll(owner));
        using Socket client = Client.Create(address);
        await client.ConnectAsync(address).InTime();
        using Socket accepted = await owner.AcceptAsync().InTime();
    }

    /// <summary>Who comes to a handle after its listener was unbound waits in its queue.</summary>
    [Fact]
    public async Task Unbind_InheritedHandleHasAQueue_TheNextOneServesIt()
    {
        using Socket owner = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        owner.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        owner.Listen();
        IPEndPoint address = (IPEndPoint)owner.LocalEndPoint!;
        await using (HostHarness first = await StartAsync(
            "first", 2, null, kestrel => kestrel.ListenHandle((ulong)owner.Handle)))
        {
            await first.AssertServesAsync(target: address);
            await first.StopAsync();
        }

        Crowd crowd = Crowd.Start(address, Clients);
        await using HostHarness second = await StartAsync(
            "second", 2, null, kestrel => kestrel.ListenHandle((ulong)owner.Handle));
        await crowd.WarmAsync();
        await crowd.AssertAllAnsweredAsync();
    }

    [Theory]
    [InlineData(2, 2)]
    [InlineData(1, 1)]
    [InlineData(3, 2)]
    public async Task SharedAddress_OneLeavesUnderLoad_EveryRequestIsAnswered(int before, int after)
    {
        await using HostHarness old = await StartAsync("old", before, null, Tcp(0), shared: true);
        Crowd crowd = Crowd.Start(old.EndPoint, Clients);
        await crowd.WarmAsync();
        await using HostHarness last = await StartAsync("last", after, null, Tcp(old.EndPoint.Port), shared: true);
        await old.StopAsync();
        await crowd.AnsweredAsync("last");
        await crowd.AssertAllAnsweredAsync();
    }

    [Fact]
    public async Task Successor_EndsBeforeItIsReady_TheOldOneServesOnAndAnotherMayCome()
    {
        await using HostHarness old = await StartAsync("old", 2, Place, Tcp(0));
        await Eventually.True(() => File.Exists(Place), () => "no file", "the place is there");
        using (Predecessor? found = Predecessor.Find(Place))
        {
            ListenSocket? taken = found!.Take(old.EndPoint);
            Assert.Single(taken!.Value.More);
            Assert.Null(found.Take(old.EndPoint));
            Assert.Null(found.Take(new IPEndPoint(IPAddress.Loopback, 1)));
            taken.Value.Socket.Dispose();
            taken.Value.More[0].Dispose();
        }

        await old.AssertServesAsync();
        await using HostHarness last = await StartAsync("last", 2, Place, Tcp(old.EndPoint.Port));
        await StopWhenToldAsync(old);
        await last.AssertServesAsync();
    }

    [Fact]
    public async Task Place_LeftBehind_IsTakenAndCanBeTakenOver()
    {
        using (Socket dead = TakeoverMessages.CreateSocket())
        {
            dead.Bind(new UnixDomainSocketEndPoint(Place));
            File.Move(Place, Place + ".kept"); // Socket removes the file only when it is disposed
        }

        File.Move(Place + ".kept", Place);
        await using HostHarness old = await StartAsync("old", 1, Place, Tcp(0));
        await using HostHarness last = await StartAsync("last", 1, Place, Tcp(old.EndPoint.Port));
        await StopWhenToldAsync(old);
        await last.AssertServesAsync();
    }

    [Fact]
    public async Task Place_IsAnOrdinaryFile_ServesSaysSoAndLeavesIt()
    {
        await File.WriteAllTextAsync(Place, "content");
        await using HostHarness host = await StartAsync("x", 1, Place, Tcp(0));
        await host.AssertServesAsync();
        await Eventually.True(() => host.Logs.Count(NoTakeover) == 1, () => "no message", "it says so");
        Assert.Equal("content", await File.ReadAllTextAsync(Place));
    }

    /// <summary>An endpoint that the successor does not have is not left to it.</summary>
    [Fact]
    public async Task Takeover_OfSomeEndPoints_TheOthersEnd()
    {
        await using HostHarness old = await StartAsync("old", 2, Place, kestrel =>
        {
            kestrel.Listen(IPAddress.Loopback, 0);
            kestrel.Listen(IPAddress.Loopback, 0);
        });
        int[] ports = [.. old.Addresses.Select(address => new Uri(address).Port)];
        await using HostHarness last = await StartAsync("last", 2, Place, Tcp(ports[1]));
        await StopWhenToldAsync(old);
        await last.AssertServesAsync(target: new IPEndPoint(IPAddress.Loopback, ports[1]));
        SocketException refused = await Assert.ThrowsAsync<SocketException>(
            () => last.ConnectAsync(new IPEndPoint(IPAddress.Loopback, ports[0])));
        Assert.Equal(SocketError.ConnectionRefused, refused.SocketErrorCode);
    }

    private static Action<KestrelServerOptions> Tcp(int port) => kestrel => kestrel.Listen(IPAddress.Loopback, port);

    private static Task<HostHarness> StartAsync(
        string name, int channels, string? place, Action<KestrelServerOptions> endpoints, bool shared = false) =>
        HostHarness.StartAsync(TransportKind.MegaPipe, context => context.Response.WriteAsync(name), setup =>
        {
            setup.Endpoints = endpoints;
            setup.Transport.MegaPipe = options =>
            {
                options.Channels = channels;
                options.Takeover = place;
                options.ShareAddress = shared;
            };
        });

    /// <summary>The successor has the host stopped, as Run would notice.</summary>
    private static async Task StopWhenToldAsync(HostHarness host)
    {
        await host.Services.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping
            .WaitForCancellation().InTime();
        await host.StopAsync();
    }
}
