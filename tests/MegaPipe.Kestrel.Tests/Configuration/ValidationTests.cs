// A wrong value stops the host when it starts, and its message says what to change: key, value, what is allowed.
using System.Globalization;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel.Tests.Configuration;

[Trait("Area", "Configuration")]
public sealed class ValidationTests
{
    public static TheoryData<string, string, string, string> OutOfRange
    {
        get
        {
            TheoryData<string, string, string, string> data = [];
            foreach ((string key, string least, string most, string? below, string? above) in OptionCases.Limits)
            {
                foreach (string? value in (string?[])[below, above])
                {
                    if (value is not null)
                    {
                        data.Add(key, value, least, most);
                    }
                }
            }

            return data;
        }
    }

    public static TheoryData<string, string> AtTheLimit
    {
        get
        {
            TheoryData<string, string> data = [];
            foreach ((string key, string least, string most, _, _) in OptionCases.Limits)
            {
                data.Add(key, least);
                data.Add(key, most);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(OutOfRange))]
    public async Task Option_OutOfRange_StopsTheHostWithKeyValueAndRange(
        string key, string value, string least, string most)
    {
        string message = await StartAndFail((key, value));
        Assert.Contains($"MegaPipe:{key}", message, StringComparison.Ordinal);
        Assert.Contains(value.TrimEnd('0'), message, StringComparison.Ordinal);
        Assert.Contains(least, message, StringComparison.Ordinal);
        Assert.Contains(most, message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(AtTheLimit))]
    public async Task Option_AtItsLimit_IsAccepted(string key, string value)
    {
        await using WebApplication app = OptionCases.Build((key, value));
        Assert.NotNull(OptionCases.Get(OptionCases.Resolve(app), key));
    }

    [Theory]
    [InlineData("ReceiveBufferCount", "100", "a power of two")]
    [InlineData("CpuSet", "0-", "0-3,8")]
    [InlineData("CpuSet", "3-1", "0-3,8")]
    [InlineData("CpuSet", "all", "0-3,8")]
    [InlineData("CpuSet", "0,,1", "0-3,8")]
    [InlineData("CpuSet", "0-1-2", "0-3,8")]
    [InlineData("CpuSet", "-1", "0-3,8")]
    [InlineData("CpuSet", "1024", "0-3,8")]
    [InlineData("Scheduling", "7", "Adaptive, ThreadPool, Inline")]
    [InlineData("LightweightSockets", "3", "Auto, Always, Never")]
    [InlineData("Steering", "4", "Auto, Hash, Cpu, Balanced")]
    [InlineData("Takeover", "@", "a path, or @ and a name")]
    [InlineData("Fallback", "-1", "Sockets, Fail")]
    public async Task Option_NotAllowed_StopsTheHostWithWhatIs(string key, string value, string allowed)
    {
        string message = await StartAndFail((key, value));
        Assert.Contains($"MegaPipe:{key} is {value};", message, StringComparison.Ordinal);
        Assert.Contains(allowed, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0-1023")]
    [InlineData("{0},1023")]
    [InlineData("1023")]
    public async Task CpuSet_NamesACpuThatMayNotBeUsed_StopsTheHostWithThoseThatMay(string format)
    {
        string cpus = string.Format(CultureInfo.InvariantCulture, format, CpuAffinity.Allowed[0]);
        string message = await StartAndFail(("CpuSet", cpus));
        Assert.Contains($"MegaPipe:CpuSet is {cpus};", message, StringComparison.Ordinal);
        Assert.Contains($"({CpuList.Format(CpuAffinity.Allowed)})", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(new int[0], "")]
    [InlineData(new[] { 3 }, "3")]
    [InlineData(new[] { 0, 1 }, "0-1")]
    [InlineData(new[] { 0, 2, 3, 4, 8, 10, 11 }, "0,2-4,8,10-11")]
    public void CpuList_Formatted_IsReadBack(int[] cpus, string text)
    {
        Assert.Equal(text, CpuList.Format(cpus));
        if (cpus.Length > 0)
        {
            Assert.Equal(cpus, CpuList.Parse(text));
        }
    }

    [Theory]
    [InlineData("InlineBudget", "100", "100 (which means 100.00:00:00);")]
    [InlineData("InlineBudget", "00:00:02", "00:00:02;")]
    [InlineData("HandOverAfter", "20", "20 (which means 20.00:00:00);")]
    [InlineData("Channels", " 05000 ", " 05000 ;")]
    [InlineData("Scheduling", "07", "07;")]
    public async Task Option_OutOfRangeInConfiguration_IsShownAsTyped(string key, string typed, string shown) =>
        Assert.Contains($"MegaPipe:{key} is {shown}", await StartAndFail((key, typed)), StringComparison.Ordinal);

    [Fact]
    public async Task Option_OutOfRangeInCode_IsShownAsSetThereAndNotAsConfigured()
    {
        string message = await Fail(() => OptionCases.Build(
            OptionCases.InMemory(("InlineBudget", "100")), code: options => options.InlineBudget = TimeSpan.Zero));
        Assert.Contains("MegaPipe:InlineBudget is 00:00:00;", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Channels", "abc")]
    [InlineData("Channels", "1.5")]
    [InlineData("MaxHandlesPerChannel", "99999999999")]
    [InlineData("ReceiveBufferCount", "0x10")]
    [InlineData("MaxReadBufferSize", "1 MiB")]
    [InlineData("NoDelay", "yes")]
    [InlineData("KeepAlive", "1")]
    [InlineData("InlineBudget", "100us")]
    [InlineData("HandOverAfter", "2ms")]
    [InlineData("KeepAliveTime", "soon")]
    [InlineData("Scheduling", "Sometimes")]
    [InlineData("LightweightSockets", "Perhaps")]
    [InlineData("Steering", "Left")]
    [InlineData("Fallback", "Never")]
    public async Task Option_Unparsable_StopsTheHostWithKeyAndValue(string key, string value)
    {
        string message = await StartAndFail((key, value));
        Assert.Contains($"MegaPipe:{key}", message, StringComparison.Ordinal);
        Assert.Contains(value, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Channels", "abc", "1 to 1024")]
    [InlineData("Scheduling", "Sometimes", "Adaptive, ThreadPool, Inline")]
    [InlineData("Fallback", "Never", "Sockets, Fail")]
    public async Task Option_Unparsable_MessageSaysWhatIsAllowed(string key, string value, string allowed) =>
        Assert.Contains(allowed, await StartAndFail((key, value)), StringComparison.Ordinal);

    [Fact]
    public async Task Options_SeveralWrong_AllAreNamedAtOnce()
    {
        string message = await StartAndFail(("Channels", "0"), ("Backlog", "0"), ("MaxCarriers", "1"));
        Assert.Contains("MegaPipe:Channels", message, StringComparison.Ordinal);
        Assert.Contains("MegaPipe:Backlog", message, StringComparison.Ordinal);
        Assert.Contains("MegaPipe:MaxCarriers", message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Option_WrongInCode_StopsTheHostToo()
    {
        string message = await Fail(() => OptionCases.Build(_ => { }, code: options => options.Channels = 5000));
        Assert.Contains("MegaPipe:Channels is 5000", message, StringComparison.Ordinal);
    }

    /// <summary>Starts a host with these values. Its message.</summary>
    private static Task<string> StartAndFail(params (string Key, string? Value)[] values) =>
        Fail(() => OptionCases.Build(values));

    /// <summary>The server is made, and with it the transport's factory, when the app is built.</summary>
    private static async Task<string> Fail(Func<WebApplication> build)
    {
        OptionsValidationException error = await Assert.ThrowsAsync<OptionsValidationException>(async () =>
        {
            await using WebApplication app = build();
            await app.StartAsync().InTime();
        });
        return error.Message;
    }
}
