// Names with several addresses, and names whose addresses change.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Connecting;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Connecting;

[Trait("Area", "Names")]
public sealed class AddressRaceTests
{
    [Theory]
    [InlineData("4a 4b 4c", "4a 4b 4c")]
    [InlineData("6a 6b 4a 4b", "6a 4a 6b 4b")]
    [InlineData("4a 4b 4c 6a", "4a 6a 4b 4c")]
    [InlineData("6a 4a", "6a 4a")]
    public void Order_FamiliesTakeTurns(string resolved, string tried) =>
        Assert.Equal(Parse(tried), AddressRace.Order(Parse(resolved)));

    [Fact]
    public async Task Connect_FirstAddressRefuses_TheNextOneIsTaken()
    {
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
        (Socket listener, int port) = ListenAt(harness, "127.0.0.3");
        harness.Factory!.Resolve = (_, _, _) => Addresses("127.0.0.2", "127.0.0.3");
        ConnectionContext connection = await harness.ConnectAsync(new DnsEndPoint("somewhere", port)).InTime();
        Assert.Equal(listener.LocalEndPoint, connection.RemoteEndPoint);
    }

    [Fact]
    public async Task Connect_FirstAddressIsSilent_TheNextOneWins()
    {
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
        Socket silent = await FullListener.CreateAsync(harness);
        int port = ((IPEndPoint)silent.LocalEndPoint!).Port;
        Socket listener = harness.Listen(new IPEndPoint(IPAddress.Parse("127.0.0.3"), port));
        harness.Factory!.Resolve = (_, _, _) => Addresses("127.0.0.1", "127.0.0.3");
        ConnectionContext connection = await harness.ConnectAsync(new DnsEndPoint("somewhere", port)).InTime();
        Assert.Equal(listener.LocalEndPoint, connection.RemoteEndPoint);
    }

    [Fact]
    public async Task Connect_EveryAddressRefuses_TheFirstOnesError()
    {
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
        (Socket listener, int port) = ListenAt(harness, "127.0.0.4");
        listener.Dispose();
        harness.Factory!.Resolve = (_, _, _) => Addresses("127.0.0.2", "127.0.0.3");
        SocketException error = await Assert.ThrowsAsync<SocketException>(
            () => harness.ConnectAsync(new DnsEndPoint("somewhere", port)).InTime());
        Assert.Equal(SocketError.ConnectionRefused, error.SocketErrorCode);
        Assert.Contains("127.0.0.2", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Connect_EveryAddressIsSilent_TokenEndsAll()
    {
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
        Socket silent = await FullListener.CreateAsync(harness);
        harness.Factory!.Resolve = (_, _, _) => Addresses("127.0.0.1", "127.0.0.1");
        using CancellationTokenSource cancel = new();
        Task<ConnectionContext> connect = harness.ConnectAsync(
            new DnsEndPoint("somewhere", ((IPEndPoint)silent.LocalEndPoint!).Port), cancel.Token);
        await Task.Delay(300); // the second one is under way
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => connect.InTime());
    }

    /// <summary>What an HttpClient keeps is a connection, not an address: the next one asks anew.</summary>
    [Fact]
    public async Task HttpClient_TheNameMoves_TheNextConnectionGoesThere()
    {
        await using ConnectHarness harness = ConnectHarness.Create(
            TransportKind.MegaPipe, settings => settings.MegaPipe = options => options.Channels = 1);
        (Socket one, int port) = ListenAt(harness, "127.0.0.2");
        Socket two = harness.Listen(new IPEndPoint(IPAddress.Parse("127.0.0.3"), port));
        _ = ServeAsync(one, "first");
        _ = ServeAsync(two, "second");
        string address = "127.0.0.2";
        harness.Factory!.Resolve = (_, _, _) => Addresses(address);
        HttpClient client = harness.CreateClient();
        Assert.Equal("first", await client.GetStringAsync($"http://somewhere:{port}/").InTime());
        address = "127.0.0.3";
        Assert.Equal("second", await client.GetStringAsync($"http://somewhere:{port}/").InTime());
    }

    /// <summary>One answer a connection.</summary>
    private static async Task ServeAsync(Socket listener, string text)
    {
        try
        {
            while (true)
            {
                using Socket socket = await listener.AcceptAsync();
                await socket.ReceiveUntilAsync("\r\n\r\n");
                await socket.SendAllAsync(
                    $"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {text.Length}\r\n\r\n{text}");
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
        }
    }

    private static (Socket Listener, int Port) ListenAt(ConnectHarness harness, string address)
    {
        Socket listener = harness.Listen(new IPEndPoint(IPAddress.Parse(address), 0));
        return (listener, ((IPEndPoint)listener.LocalEndPoint!).Port);
    }

    private static Task<IPAddress[]> Addresses(params string[] addresses) =>
        Task.FromResult(addresses.Select(IPAddress.Parse).ToArray());

    private static IPAddress[] Parse(string words) =>
        [.. words.Split(' ').Select(word => IPAddress.Parse(
            word[0] == '4' ? $"10.0.0.{(int)word[1]}" : $"fd00::{word[1]}"))];
}
