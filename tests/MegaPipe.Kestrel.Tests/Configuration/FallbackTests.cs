// Where io_uring is denied: the stock transport serves after one warning, or the host stops if it was told to.
using System.Globalization;
using System.Net.Http.Json;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Configuration;

[Trait("Area", "Fallback")]
public sealed class FallbackTests
{
    /// <summary>An order of magnitude above what the suite takes.</summary>
    private static readonly TimeSpan s_suiteLimit = TimeSpan.FromMinutes(8);

    [Theory]
    [InlineData(SeccompFilter.IoUringSetup, SeccompFilter.Eperm, "io_uring_setup was refused")]
    [InlineData(SeccompFilter.IoUringSetup, SeccompFilter.Enosys, "io_uring_setup is ")] // "hidden", or "not there"
    [InlineData(SeccompFilter.IoUringEnter, SeccompFilter.Eperm, "io_uring_enter was refused")]
    [InlineData(SeccompFilter.IoUringEnter, SeccompFilter.Enosys, "io_uring_enter is hidden")]
    [InlineData(SeccompFilter.IoUringRegister, SeccompFilter.Eperm, "io_uring_register was refused")]
    [InlineData(SeccompFilter.IoUringRegister, SeccompFilter.Enosys, "io_uring_register is hidden")]
    public async Task IoUringDenied_SocketsServesAfterOneWarningWithCheckAndRemedy(int call, int errno, string check)
    {
        await using ChildProcess child = await DeniedServer.StartAsync(call, errno, ["--MegaPipe:Backlog", "77"]);
        using HttpClient client = new()
        {
            BaseAddress = new Uri($"http://127.0.0.1:{int.Parse(child.Answer, CultureInfo.InvariantCulture)}/"),
            Timeout = InTimeExtensions.Limit,
        };
        for (int i = 0; i < 5; i++)
        {
            Assert.Equal("hello", await client.GetStringAsync(new Uri("/", UriKind.Relative)).InTime());
        }

        Assert.Equal("hello", await client.GetStringAsync(new Uri("/unflushed", UriKind.Relative)).InTime());
        DeniedReport report = (await client.GetFromJsonAsync<DeniedReport>(
            new Uri("/transport", UriKind.Relative)).InTime())!;
        Assert.Equal("sockets", report.Transport);
        Assert.Contains("Sockets", report.ConnectionType, StringComparison.Ordinal);
        Assert.Contains(check, report.FallbackReason, StringComparison.Ordinal);
        Assert.Contains("seccomp profile", report.FallbackReason, StringComparison.Ordinal);
        Assert.Contains("llow io_uring_setup, _enter and _register", report.FallbackReason, StringComparison.Ordinal);
        string warning = Assert.Single(report.Warnings);
        Assert.StartsWith("102 Warning ", warning, StringComparison.Ordinal);
        Assert.Contains(report.FallbackReason!, warning, StringComparison.Ordinal);
        Assert.Empty(report.Started);
        Assert.Equal(0, report.Channels);
        Assert.Equal("77", report.Backlog);
    }

    [Fact, Trait("Speed", "Slow")]
    public async Task IoUringDenied_EveryContract_HoldsAsOnStock()
    {
        int cases = DeniedSuite.Discover().Count;
        Assert.True(cases > 200, $"only {cases} tests of the fallback's column were found");
        await using ChildProcess child = await ChildProcess.StartAsync(
            DeniedSuite.Command, SeccompFilter.Eperm.ToString(CultureInfo.InvariantCulture));
        Assert.Contains("seccomp", child.Answer, StringComparison.Ordinal);
        string result = (await child.ReadToEndAsync(s_suiteLimit)).Trim();
        Assert.EndsWith(" passed, 0 failed", result, StringComparison.Ordinal);
        // A theory whose data cannot be told apart beforehand is one case and several tests.
        Assert.InRange(int.Parse(result.Split(' ')[0], CultureInfo.InvariantCulture), cases, 2 * cases);
    }

    [Theory]
    [InlineData(SeccompFilter.Eperm, "seccomp")]
    [InlineData(SeccompFilter.Enosys, "seccomp")]
    public async Task IoUringDeniedAndFallbackFail_HostStopsWithTheReason(int errno, string reason)
    {
        await using ChildProcess child = await DeniedServer.StartAsync(errno, "--MegaPipe:Fallback", "Fail");
        Assert.StartsWith(DeniedServer.Failed, child.Answer, StringComparison.Ordinal);
        Assert.Contains("PlatformNotSupportedException", child.Answer, StringComparison.Ordinal);
        Assert.Contains(reason, child.Answer, StringComparison.Ordinal);
        Assert.Contains("MegaPipe:Fallback", child.Answer, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(64, "Sockets")]
    [InlineData(0, "Fail")]
    public async Task LittleLockedMemory_ReasonNamesTheLimit(int kibibytes, string fallback)
    {
        await using ChildProcess child = await LockedMemoryServer.StartAsync(kibibytes, fallback);
        if (child.Answer == "megapipe: ")
        {
            return; // before about 6.14 the kernel does not count rings: nothing is denied
        }

        Assert.StartsWith(
            fallback == "Fail" ? "PlatformNotSupportedException: " : "sockets: ", child.Answer,
            StringComparison.Ordinal);
        Assert.Contains("RLIMIT_MEMLOCK", child.Answer, StringComparison.Ordinal);
        Assert.Contains("ulimit -l", child.Answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task IoUringDenied_WrongOptionStillStopsTheHost()
    {
        await using ChildProcess child = await DeniedServer.StartAsync(
            SeccompFilter.Eperm, "--MegaPipe:Channels", "0");
        Assert.StartsWith(DeniedServer.Failed, child.Answer, StringComparison.Ordinal);
        Assert.Contains("MegaPipe:Channels is 0; allowed: 1 to 1024", child.Answer, StringComparison.Ordinal);
    }
}
