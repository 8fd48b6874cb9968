// Every option of the section: a value that is not its default, as text, and what it must become; its limits.
using System.Net;
using System.Reflection;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Native;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel.Tests.Configuration;

internal static class OptionCases
{
    private static readonly string s_cpus = CpuList.Format(CpuAffinity.Allowed);

    /// <summary>Option, text in configuration, value that the text stands for.</summary>
    public static readonly (string Key, string Text, object? Value)[] All =
    [
        (nameof(MegaPipeTransportOptions.Channels), "3", 3),
        (nameof(MegaPipeTransportOptions.CpuSet), s_cpus, s_cpus),
        (nameof(MegaPipeTransportOptions.MaxHandlesPerChannel), "1000", 1000),
        (nameof(MegaPipeTransportOptions.ReceiveBufferCount), "64", 64),
        (nameof(MegaPipeTransportOptions.ReceiveBufferSize), "2048", 2048),
        (nameof(MegaPipeTransportOptions.BatchThreshold), "7", 7),
        (nameof(MegaPipeTransportOptions.Backlog), "99", 99),
        (nameof(MegaPipeTransportOptions.DeferAccept), "00:00:03", TimeSpan.FromSeconds(3)),
        (nameof(MegaPipeTransportOptions.NoDelay), "false", false),
        (nameof(MegaPipeTransportOptions.MaxReadBufferSize), "123456", 123_456L),
        (nameof(MegaPipeTransportOptions.MaxWriteBufferSize), "54321", 54_321L),
        (nameof(MegaPipeTransportOptions.ZeroCopyThreshold), "65536", 65_536),
        (nameof(MegaPipeTransportOptions.BusyPoll), "00:00:00.000050", TimeSpan.FromMicroseconds(50)),
        (nameof(MegaPipeTransportOptions.LightweightSockets), "Never", LightweightSockets.Never),
        (nameof(MegaPipeTransportOptions.Profile), "latency", MegaPipeProfile.Latency),
        (nameof(MegaPipeTransportOptions.Scheduling), "inline", MegaPipeScheduling.Inline),
        (nameof(MegaPipeTransportOptions.InlineBudget), "00:00:00.000250", TimeSpan.FromMicroseconds(250)),
        (nameof(MegaPipeTransportOptions.HandOverAfter), "00:00:00.005", TimeSpan.FromMilliseconds(5)),
        (nameof(MegaPipeTransportOptions.MaxCarriers), "300", 300),
        (nameof(MegaPipeTransportOptions.MaxPoolThreads), "77", 77),
        (nameof(MegaPipeTransportOptions.ReportBlocking), "false", false),
        (nameof(MegaPipeTransportOptions.Steering), "Cpu", MegaPipeSteering.Cpu),
        (nameof(MegaPipeTransportOptions.LocalPerStolen), "7", 7),
        (nameof(MegaPipeTransportOptions.MigrateFlowGroups), "false", false),
        (nameof(MegaPipeTransportOptions.MigrateConnections), "true", true),
        (nameof(MegaPipeTransportOptions.SourcePorts), "perchannel", MegaPipeSourcePorts.PerChannel),
        (nameof(MegaPipeTransportOptions.Fallback), "Fail", MegaPipeFallback.Fail),
        (nameof(MegaPipeTransportOptions.FinOnError), "true", true),
        (nameof(MegaPipeTransportOptions.ShareAddress), "True", true),
        (nameof(MegaPipeTransportOptions.Takeover), "@mp-option", "@mp-option"),
        (nameof(MegaPipeTransportOptions.KeepAlive), "true", true),
        (nameof(MegaPipeTransportOptions.KeepAliveTime), "00:01:00", TimeSpan.FromMinutes(1)),
        (nameof(MegaPipeTransportOptions.KeepAliveInterval), "00:00:05", TimeSpan.FromSeconds(5)),
        (nameof(MegaPipeTransportOptions.KeepAliveRetryCount), "4", 4),
    ];

    /// <summary>Option, least and most value, one below, one above; all as text. null: no such value.</summary>
    public static readonly (string Key, string Least, string Most, string? Below, string? Above)[] Limits =
    [
        (nameof(MegaPipeTransportOptions.Channels), "1", "1024", "0", "1025"),
        (nameof(MegaPipeTransportOptions.MaxHandlesPerChannel), "64", "1048576", "63", "1048577"),
        (nameof(MegaPipeTransportOptions.ReceiveBufferCount), "8", "32768", "4", "65536"),
        (nameof(MegaPipeTransportOptions.ReceiveBufferSize), "256", "1048576", "255", "1048577"),
        (nameof(MegaPipeTransportOptions.BatchThreshold), "1", "1024", "0", "1025"),
        (nameof(MegaPipeTransportOptions.Backlog), "1", "65535", "0", "65536"),
        (nameof(MegaPipeTransportOptions.MaxReadBufferSize), "0", "9223372036854775807", "-1", null),
        (nameof(MegaPipeTransportOptions.MaxWriteBufferSize), "0", "9223372036854775807", "-1", null),
        (nameof(MegaPipeTransportOptions.ZeroCopyThreshold), "0", "1073741824", "-1", "1073741825"),
        (nameof(MegaPipeTransportOptions.BusyPoll), "00:00:00", "00:00:00.01", "-00:00:00.000001", "00:00:00.010001"),
        (nameof(MegaPipeTransportOptions.MaxCarriers), "2", "4096", "1", "4097"),
        (nameof(MegaPipeTransportOptions.MaxPoolThreads), "0", "32767", "-1", "32768"),
        (nameof(MegaPipeTransportOptions.LocalPerStolen), "0", "1000", "-1", "1001"),
        (nameof(MegaPipeTransportOptions.KeepAliveRetryCount), "1", "127", "0", "128"),
        (nameof(MegaPipeTransportOptions.InlineBudget), "00:00:00.0000010", "00:00:01", "00:00:00.0000009",
            "00:00:01.0000001"),
        (nameof(MegaPipeTransportOptions.HandOverAfter), "00:00:00.0001000", "00:00:10", "00:00:00.0000999",
            "00:00:10.0000001"),
        (nameof(MegaPipeTransportOptions.DeferAccept), "00:00:01", "00:01:00", "00:00:00.9999999", "00:01:01"),
        (nameof(MegaPipeTransportOptions.KeepAliveTime), "00:00:01", "09:06:07", "00:00:00.9999999", "09:06:08"),
        (nameof(MegaPipeTransportOptions.KeepAliveInterval), "00:00:01", "09:06:07", "00:00:00", "09:06:08"),
    ];

    /// <summary>What configuration can set: every public property but the delegate.</summary>
    public static IEnumerable<PropertyInfo> Properties => typeof(MegaPipeTransportOptions)
        .GetProperties(BindingFlags.Public | BindingFlags.Instance)
        .Where(property => property.Name != nameof(MegaPipeTransportOptions.CreateBoundListenSocket));

    public static object? Get(MegaPipeTransportOptions options, string key) =>
        typeof(MegaPipeTransportOptions).GetProperty(key)!.GetValue(options);

    /// <summary>An app with one loopback endpoint, one answer, and nothing but what a test adds.</summary>
    public static WebApplication Build(
        Action<IConfigurationBuilder> configure, Action<IServiceCollection>? services = null,
        ILoggerProvider? logs = null, Action<MegaPipeTransportOptions>? code = null)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        configure(builder.Configuration);
        builder.WebHost.UseKestrelCore();
        if (logs is not null)
        {
            builder.Logging.SetMinimumLevel(LogLevel.Trace).AddProvider(logs);
        }

        if (code is null)
        {
            builder.WebHost.UseMegaPipe();
        }
        else
        {
            builder.WebHost.UseMegaPipe(code);
        }

        services?.Invoke(builder.Services);
        builder.WebHost.ConfigureKestrel(options => options.Listen(IPAddress.Loopback, 0));
        WebApplication app = builder.Build();
        app.Run(context => context.Response.WriteAsync("hello"));
        return app;
    }

    public static WebApplication Build(params (string Key, string? Value)[] values) => Build(InMemory(values));

    public static Action<IConfigurationBuilder> InMemory(params (string Key, string? Value)[] values) =>
        builder => builder.AddInMemoryCollection(
            values.Select(value => KeyValuePair.Create($"MegaPipe:{value.Key}", value.Value)));

    public static MegaPipeTransportOptions Resolve(WebApplication app) =>
        app.Services.GetRequiredService<IOptions<MegaPipeTransportOptions>>().Value;
}
