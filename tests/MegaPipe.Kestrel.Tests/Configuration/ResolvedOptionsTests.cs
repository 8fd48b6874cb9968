// What was resolved is said once, at Information, and is what really happens.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Configuration;

[Trait("Area", "Configuration")]
public sealed class ResolvedOptionsTests
{
    private const int Started = 101;
    private const int ResolvedOptions = 113;

    [Fact]
    public async Task Start_TwoEndpoints_ResolvedValuesAndFeaturesAreLoggedOnce()
    {
        using LogCapture logs = new();
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        OptionCases.InMemory(("Backlog", "99"), ("HandOverAfter", "00:00:00.005"))(builder.Configuration);
        builder.Logging.SetMinimumLevel(LogLevel.Trace).AddProvider(logs);
        builder.WebHost.UseKestrelCore().UseMegaPipe(options => options.Fallback = MegaPipeFallback.Fail);
        builder.WebHost.ConfigureKestrel(options =>
        {
            options.Listen(IPAddress.Loopback, 0);
            options.Listen(IPAddress.IPv6Loopback, 0);
        });
        await using WebApplication app = builder.Build();
        await app.StartAsync().InTime();
        LogEntry entry = Assert.Single(logs.Start(Started));
        Assert.Equal(LogLevel.Information, entry.Level);
        Assert.StartsWith(
            "MegaPipe serves with Backlog=99, HandOverAfter=00:00:00.0050000, Fallback=Fail. Kernel: ring,",
            entry.Message, StringComparison.Ordinal);
        Assert.Equal(LogLevel.Debug, Assert.Single(logs.Start(ResolvedOptions)).Level);
        Assert.Empty(logs.Start(102));
        await app.StopAsync().InTime();
        Assert.DoesNotContain(logs.Entries, logged => logged.IsTransport && logged.Level > LogLevel.Debug);
    }

    [Fact]
    public async Task Start_NothingConfigured_InformationSaysSo()
    {
        using LogCapture logs = new();
        await using WebApplication app = OptionCases.Build(_ => { }, logs: logs);
        await app.StartAsync().InTime();
        await app.StopAsync().InTime();
        Assert.StartsWith(
            "MegaPipe serves with its default options. Kernel: ring,", Assert.Single(logs.Start(Started)).Message,
            StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_AddressInUse_SaysNothingOfServing()
    {
        using LogCapture logs = new();
        using Socket taken = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        taken.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        taken.Listen();
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.Logging.SetMinimumLevel(LogLevel.Trace).AddProvider(logs);
        builder.WebHost.UseKestrelCore().UseMegaPipe();
        builder.WebHost.ConfigureKestrel(
            options => options.Listen(IPAddress.Loopback, ((IPEndPoint)taken.LocalEndPoint!).Port));
        await using WebApplication app = builder.Build();
        await Assert.ThrowsAsync<IOException>(() => app.StartAsync().InTime());
        Assert.DoesNotContain(logs.Entries, logged => logged.IsStart);
    }

    [Fact]
    public async Task Start_EveryOption_IsAmongTheResolvedValues()
    {
        using LogCapture logs = new();
        await using WebApplication app = OptionCases.Build(_ => { }, logs: logs);
        await app.StartAsync().InTime();
        string message = Assert.Single(logs.Start(ResolvedOptions)).Message;
        MegaPipeStatus status = (MegaPipeStatus)app.Services.GetService(typeof(MegaPipeStatus))!;
        await app.StopAsync().InTime();
        string[] missing =
        [
            .. OptionCases.Properties.Select(property => property.Name).Where(name =>
                !status.Options.ContainsKey(name) || !message.Contains($"{name}=", StringComparison.Ordinal)),
        ];
        Assert.True(missing.Length == 0, $"Not among the resolved values: {string.Join(", ", missing)}");
    }

    [Fact]
    public async Task Channels_NotSetButCpuSetIs_ResolvedNumberIsTheOneThatServes()
    {
        using LogCapture logs = new();
        await using WebApplication app = OptionCases.Build(OptionCases.InMemory(("CpuSet", "0")), logs: logs);
        await app.StartAsync().InTime();
        MegaPipeStatus status = (MegaPipeStatus)app.Services.GetService(typeof(MegaPipeStatus))!;
        int channels = status.GetChannels().Count;
        await app.StopAsync().InTime();
        Assert.Equal(1, channels);
        Assert.Equal("1", status.Options["Channels"]);
    }

    [Fact]
    public async Task CpuSet_OneCpu_CarriersRunThereOnly()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            TransportKind.MegaPipeInline,
            context => context.Response.WriteAsync($"[{Thread.CurrentThread.Name}|{AllowedCpus()}]"),
            setup => setup.Services = services => services.Configure<MegaPipeTransportOptions>(
                options => options.CpuSet = "0"));
        using HttpClient client = host.CreateClient();
        // A connection's first request may still run on the pool thread that Kestrel started the connection on.
        await client.GetStringAsync(new Uri("/", UriKind.Relative)).InTime();
        string answer = await client.GetStringAsync(new Uri("/", UriKind.Relative)).InTime();
        Assert.StartsWith("[MegaPipe carrier", answer, StringComparison.Ordinal);
        Assert.EndsWith("|0]", answer, StringComparison.Ordinal);
    }

    private static string AllowedCpus() => File.ReadAllLines("/proc/thread-self/status")
        .Single(line => line.StartsWith("Cpus_allowed_list:", StringComparison.Ordinal))
        .Split(':')[1].Trim();
}
