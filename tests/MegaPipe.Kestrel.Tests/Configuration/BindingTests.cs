// The "MegaPipe" section: every option from every source of configuration, and code that wins over it.
using System.Text;
using System.Text.Json;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Configuration;

[Trait("Area", "Configuration")]
public sealed class BindingTests
{
    [Fact]
    public void OptionCases_EveryProperty_HasOneAndDiffersFromItsDefault()
    {
        Assert.Equal(
            OptionCases.Properties.Select(property => property.Name).Order(),
            OptionCases.All.Select(option => option.Key).Order());
        MegaPipeTransportOptions defaults = new();
        Assert.All(OptionCases.All, option => Assert.NotEqual(option.Value, OptionCases.Get(defaults, option.Key)));
    }

    [Fact]
    public async Task Options_NoConfiguration_HaveTheirDocumentedDefaults()
    {
        await using WebApplication app = OptionCases.Build();
        MegaPipeTransportOptions defaults = new();
        MegaPipeTransportOptions bound = OptionCases.Resolve(app);
        Assert.All(OptionCases.Properties, property =>
            Assert.Equal(property.GetValue(defaults), property.GetValue(bound)));
    }

    [Fact]
    public Task Options_InJson_AllBind() => AssertAllBind(builder => builder.AddJsonStream(new MemoryStream(
        Encoding.UTF8.GetBytes(JsonSerializer.Serialize(new Dictionary<string, Dictionary<string, string>>
        {
            ["MegaPipe"] = OptionCases.All.ToDictionary(option => option.Key, option => option.Text),
        })))));

    [Fact]
    public Task Options_InJsonWithJsonsOwnTypes_Bind() => AssertBind(
        builder => builder.AddJsonStream(new MemoryStream(Encoding.UTF8.GetBytes(
            """{"MegaPipe":{"Channels":3,"NoDelay":false,"MaxReadBufferSize":null,"Scheduling":"ThreadPool"}}"""))),
        ("Channels", 3), ("NoDelay", false), ("MaxReadBufferSize", null),
        ("Scheduling", MegaPipeScheduling.ThreadPool));

    [Fact]
    public async Task Options_InEnvironmentVariables_AllBind()
    {
        try
        {
            foreach ((string key, string text, _) in OptionCases.All)
            {
                Environment.SetEnvironmentVariable($"MegaPipe__{key}", text);
            }

            await AssertAllBind(builder => builder.AddEnvironmentVariables());
        }
        finally
        {
            foreach ((string key, _, _) in OptionCases.All)
            {
                Environment.SetEnvironmentVariable($"MegaPipe__{key}", null);
            }
        }
    }

    [Fact]
    public Task Options_OnTheCommandLine_AllBind() => AssertAllBind(builder => builder.AddCommandLine(
        [.. OptionCases.All.SelectMany(option => (string[])[$"--MegaPipe:{option.Key}", option.Text])]));

    [Fact]
    public Task Options_OnTheCommandLineWithEqualsAndOtherCase_AllBind() =>
        AssertAllBind(builder => builder.AddCommandLine(
            [.. OptionCases.All.Select(option => $"--megapipe:{option.Key.ToUpperInvariant()}={option.Text}")]));

    [Fact]
    public async Task Options_InUseMegaPipe_WinOverConfiguration()
    {
        await using WebApplication app = OptionCases.Build(
            OptionCases.InMemory(("Channels", "3"), ("Backlog", "99")), code: options => options.Channels = 2);
        Assert.Equal(2, OptionCases.Resolve(app).Channels);
        Assert.Equal(99, OptionCases.Resolve(app).Backlog);
    }

    [Fact]
    public async Task Options_ConfigureAndPostConfigure_WinInTheirOrder()
    {
        await using WebApplication app = OptionCases.Build(
            OptionCases.InMemory(("Channels", "3"), ("Backlog", "99"), ("BatchThreshold", "7")),
            services =>
            {
                services.PostConfigure<MegaPipeTransportOptions>(options => options.Backlog = 5);
                services.Configure<MegaPipeTransportOptions>(options =>
                {
                    Assert.Equal(99, options.Backlog);
                    options.Backlog = 4;
                    options.BatchThreshold = 6;
                });
            });
        MegaPipeTransportOptions bound = OptionCases.Resolve(app);
        Assert.Equal((3, 5, 6), (bound.Channels, bound.Backlog, bound.BatchThreshold));
    }

    [Fact]
    public async Task Channels_FromConfiguration_AreHowManyServe()
    {
        await using WebApplication app = OptionCases.Build(("Channels", "3"), ("Fallback", "Fail"));
        await app.StartAsync();
        Assert.Equal([0, 1, 2], app.Services.GetRequiredService<MegaPipeStatus>().GetChannels().Select(c => c.Index));
        await app.StopAsync();
    }

    [Fact]
    public async Task Key_NoOptionOfThatName_IsNamedOnceInAWarning()
    {
        using LogCapture logs = new();
        await using WebApplication app = OptionCases.Build(
            OptionCases.InMemory(("Chanels", "3"), ("channels", "2"), ("CreateBoundListenSocket", "x")), logs: logs);
        Assert.Equal(2, OptionCases.Resolve(app).Channels);
        await app.StartAsync();
        await app.StopAsync();
        Assert.All(logs.Start(121), entry => Assert.Equal(LogLevel.Warning, entry.Level));
        Assert.Equal(
            ["MegaPipe:Chanels changes", "MegaPipe:CreateBoundListenSocket changes"],
            logs.Start(121).Select(entry => entry.Message.Split(" nothing")[0]).Order());
    }

    private static Task AssertAllBind(Action<IConfigurationBuilder> configure) =>
        AssertBind(configure, [.. OptionCases.All.Select(option => (option.Key, option.Value))]);

    private static async Task AssertBind(
        Action<IConfigurationBuilder> configure, params (string Key, object? Value)[] expected)
    {
        await using WebApplication app = OptionCases.Build(configure);
        MegaPipeTransportOptions bound = OptionCases.Resolve(app);
        Assert.All(expected, option => Assert.Equal(option.Value, OptionCases.Get(bound, option.Key)));
    }
}
