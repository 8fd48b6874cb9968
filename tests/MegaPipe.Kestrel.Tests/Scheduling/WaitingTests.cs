// What the profile means on a machine, and that a server serves, is idle and stops with each.
using System.Net;
using MegaPipe.Kestrel.Internal.Carrying;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Scheduling;

public sealed class WaitingTests
{
    [Theory]
    [InlineData(MegaPipeProfile.Balanced, 8, false, 0, 0)]
    [InlineData(MegaPipeProfile.Latency, 8, false, 100, 7)]
    [InlineData(MegaPipeProfile.Latency, 2, false, 100, 1)]
    [InlineData(MegaPipeProfile.Latency, 1, false, 0, 0)]
    [InlineData(MegaPipeProfile.Latency, 8, true, 0, 0)]
    [InlineData(MegaPipeProfile.Efficiency, 1, true, 0, 0)]
    public void Resolve_ProfileAndMachine_SpinsWhereACpuStaysFree(
        MegaPipeProfile profile, int cpus, bool quota, int spinUs, int most)
    {
        Waiting waiting = Waiting.Resolve(profile, cpus, quota);

        Assert.Equal(TimeSpan.FromMicroseconds(spinUs), waiting.Spin);
        Assert.Equal(most, waiting.MostSpinners);
        Assert.Equal(profile == MegaPipeProfile.Latency && spinUs == 0, waiting.Reason is not null);
    }

    [Fact]
    public void Describe_WhatItMeansHere_IsSaid()
    {
        Assert.Equal(
            "channels without work sleep at once, because the process has one CPU",
            Waiting.Resolve(MegaPipeProfile.Latency, 1, false).Describe());
        Assert.Equal(
            "channels without work wait awake for up to 100 µs",
            Waiting.Resolve(MegaPipeProfile.Latency, 2, false).Describe());
        Assert.Equal(
            "channels without work sleep at once",
            Waiting.Resolve(MegaPipeProfile.Efficiency, 2, false).Describe());
    }

    [Theory]
    [InlineData("0::/a/b\n", "a/cpu.max", "50000 100000", true)]
    [InlineData("0::/a/b\n", "a/b/cpu.max", "max 100000", false)]
    [InlineData("0::/\n", "cpu.max", "200000 100000", true)]
    [InlineData("4:cpu,cpuacct:/a\n", "cpu/a/cpu.cfs_quota_us", "50000", true)]
    [InlineData("4:cpu,cpuacct:/a\n", "cpu/a/cpu.cfs_quota_us", "-1", false)]
    [InlineData("nonsense\n", "cpu.max", "50000 100000", false)]
    public void Quota_OfTheGroupOrOneAbove_IsFound(string membership, string file, string text, bool expected)
    {
        string root = Directory.CreateTempSubdirectory().FullName;
        try
        {
            string place = Path.Combine(root, file);
            Directory.CreateDirectory(Path.GetDirectoryName(place)!);
            File.WriteAllText(place, text + "\n");
            File.WriteAllText(Path.Combine(root, "membership"), membership);

            Assert.Equal(expected, CpuQuota.Exists(root, Path.Combine(root, "membership")));
            Assert.False(CpuQuota.Exists(root, Path.Combine(root, "nothing")));
        }
        finally
        {
            Directory.Delete(root, true);
        }
    }

    [Theory]
    [InlineData(MegaPipeProfile.Balanced)]
    [InlineData(MegaPipeProfile.Latency)]
    [InlineData(MegaPipeProfile.Efficiency)]
    public async Task Profile_ClientsOneByOneAndTogetherAndWorkFromThePool_AllIsServed(MegaPipeProfile profile)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseMegaPipe(options => options.Profile = profile)
            .ConfigureKestrel(kestrel => kestrel.Listen(IPAddress.Loopback, 0));
        await using WebApplication app = builder.Build();
        app.MapGet("/", () => "inline");
        app.MapGet("/pool", async () =>
        {
            await Task.Yield();
            return "pool";
        });
        await app.StartAsync();
        using HttpClient client = new() { BaseAddress = new Uri(app.Urls.First()) };

        for (int i = 0; i < 300; i++)
        {
            Assert.Equal("inline", await client.GetStringAsync("/"));
            Assert.Equal("pool", await client.GetStringAsync("/pool"));
        }

        string[] together = await Task.WhenAll(
            Enumerable.Range(0, 200).Select(i => client.GetStringAsync(i % 2 == 0 ? "/" : "/pool")));

        Assert.Equal(100, together.Count(text => text == "inline"));
        Assert.Equal("megapipe", app.Services.GetRequiredService<MegaPipeStatus>().Transport);
        Assert.Equal(
            profile.ToString(), app.Services.GetRequiredService<MegaPipeStatus>().Options["Profile"]);
        await app.StopAsync().WaitAsync(TimeSpan.FromMinutes(1));
    }
}
