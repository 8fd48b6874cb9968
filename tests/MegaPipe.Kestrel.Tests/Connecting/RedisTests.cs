// The recipe of docs/OUTGOING.md for a client that takes a stream, against the real server.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using StackExchange.Redis;
using StackExchange.Redis.Configuration;

namespace MegaPipe.Kestrel.Tests.Connecting;

[Trait("Area", "Redis")]
public sealed class RedisTests
{
    [RedisFact]
    public async Task Redis_OverOurStream_CommandsAndLargeValuesAndManyAtOnce()
    {
        DirectoryInfo directory = Directory.CreateTempSubdirectory("mp-redis-");
        string path = Path.Combine(directory.FullName, "s");
        using Process server = Process.Start(new ProcessStartInfo(
            RedisFactAttribute.Program,
            ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", directory.FullName])
        {
            RedirectStandardOutput = true,
        })!;
        try
        {
            _ = server.StandardOutput.ReadToEndAsync();
            await Eventually.True(() => File.Exists(path));
            await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
            ConfigurationOptions options = new()
            {
                EndPoints = { new UnixDomainSocketEndPoint(path) },
                Tunnel = new MegaPipeTunnel(harness.Factory!),
                ConnectTimeout = 30_000,
                AsyncTimeout = 30_000,
            };
            await using (ConnectionMultiplexer redis = await ConnectionMultiplexer.ConnectAsync(options).InTime())
            {
                IDatabase database = redis.GetDatabase();
                byte[] large = Client.Pattern(1_000_000);
                await database.StringSetAsync("large", large).InTime();
                Assert.Equal(large, await database.StringGetAsync("large").InTime());
                await Task.WhenAll(
                    Enumerable.Range(0, 1000).Select(_ => database.StringIncrementAsync("count"))).InTime();
                Assert.Equal(1000, (int)await database.StringGetAsync("count").InTime());
                Assert.InRange(LeakCheck.Sum(harness.Status, "connected"), 1, 2); // commands, and subscriptions
            }
        }
        finally
        {
            server.Kill();
            await server.WaitForExitAsync().InTime();
            directory.Delete(recursive: true);
        }
    }

    private sealed class MegaPipeTunnel(MegaPipeConnectionFactory factory) : Tunnel
    {
        public override ValueTask<EndPoint?> GetSocketConnectEndpointAsync(
            EndPoint endpoint, CancellationToken cancellationToken) => default;

        public override async ValueTask<Stream?> BeforeAuthenticateAsync(
            EndPoint endpoint, ConnectionType connectionType, Socket? socket, CancellationToken cancellationToken) =>
            await factory.ConnectStreamAsync(endpoint, cancellationToken);
    }
}

/// <summary>Skipped, with the reason, where the server is not installed.</summary>
public sealed class RedisFactAttribute : FactAttribute
{
    public const string Program = "/usr/bin/redis-server";

    public RedisFactAttribute() =>
        Skip = File.Exists(Program) ? null : $"{Program} is not there: install the package redis-server";
}
