// Stacks of what blocks: handlers that are stuck in the usual ways are named with the line of code's method.
using System.Net;
using System.Runtime.CompilerServices;
using System.Text.Json;
using MegaPipe.Kestrel.Stacks;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Page.Tests;

[Collection("One sampling in the process")]
public sealed class StackTests
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(90);
    private static readonly Lock s_lock = new();

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static string InResult() => Task.Delay(60).ContinueWith(static _ => "x", TaskScheduler.Default).Result;

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static string InSleep()
    {
        Thread.Sleep(60);
        return "x";
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static string InLock()
    {
        using ManualResetEventSlim taken = new();
        Thread other = new(() =>
        {
            lock (s_lock)
            {
                taken.Set();
                Thread.Sleep(60);
            }
        })
        { IsBackground = true };
        other.Start();
        taken.Wait(s_limit);
        lock (s_lock)
        {
            return "x";
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Forever(SemaphoreSlim release) => release.Wait(s_limit);

    private static Task<PageHost> StartAsync(Action<WebApplication> map) =>
        PageHost.StartAsync(services: services => services.AddMegaPipeStacks(), before: map);

    private static RequestDelegate Of(Func<string> handler) => context => context.Response.WriteAsync(handler());

    [Fact]
    public async Task HandlersThatBlock_AreFoundWithTheirOwnMethodAndWhatItWaitsIn()
    {
        await using PageHost host = await StartAsync(app =>
        {
            app.MapGet("/result", Of(InResult));
            app.MapGet("/sleep", Of(InSleep));
            app.MapGet("/lock", Of(InLock));
        });
        foreach (string path in (string[])["/result", "/sleep", "/lock", "/quick"])
        {
            host.Load(path, 1, 20);
        }

        MegaPipeStackSampler sampler = host.Services.GetRequiredService<MegaPipeStackSampler>();
        Dictionary<string, MegaPipeStackSample> found = [];
        long end = Environment.TickCount64 + (long)s_limit.TotalMilliseconds;
        (string Title, string Method, string Waits)[] expected =
        [
            ("GET /result", nameof(InResult), "System.Threading.Tasks.Task"),
            ("GET /sleep", nameof(InSleep), "System.Threading.Thread.Sleep"),
            ("GET /lock", nameof(InLock), "System.Threading.Lock"),
        ];
        do
        {
            MegaPipeStackReport report = await sampler.SampleAsync(TimeSpan.FromSeconds(1));
            Assert.Null(report.Problem);
            foreach (MegaPipeStackSample stack in report.Stacks)
            {
                found[stack.Title] = found.TryGetValue(stack.Title, out MegaPipeStackSample? other) &&
                    other.Samples >= stack.Samples ? other : stack;
            }
        }
        while (!expected.All(one => found.ContainsKey(one.Title)) && Environment.TickCount64 < end);
        foreach ((string title, string method, string waits) in expected)
        {
            MegaPipeStackSample stack = found[title];
            string all = string.Join('\n', stack.Frames);
            Assert.True(stack.Samples > 0 && stack.ThreadId > 0);
            Assert.Equal(
                $"{typeof(StackTests).Assembly.GetName().Name}!{typeof(StackTests).FullName}.{method}", stack.Where);
            int own = stack.Frames.ToList().IndexOf(stack.Where!);
            Assert.True(own > 0, all);
            Assert.Contains(stack.Frames.Take(own), frame => frame.Contains(waits, StringComparison.Ordinal));
            Assert.Contains(
                stack.Frames.Skip(own), frame => frame.StartsWith("MegaPipe.Kestrel!", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task HandlerThatDoesNotComeBack_IsFound_ByOneSamplingAtATime()
    {
        using SemaphoreSlim release = new(0);
        await using PageHost host = await StartAsync(app => app.MapGet("/forever", Of(() =>
        {
            Forever(release);
            return "x";
        })));
        Task<string> request = host.Client.GetStringAsync("/forever");
        try
        {
            MegaPipeStatus status = host.Services.GetRequiredService<MegaPipeStatus>();
            MegaPipeStackSampler sampler = host.Services.GetRequiredService<MegaPipeStackSampler>();
            long end = Environment.TickCount64 + (long)s_limit.TotalMilliseconds;
            while (!status.GetBlocked().Any(row => row.Title == "GET /forever" && row.StuckNow > 0))
            {
                Assert.True(Environment.TickCount64 < end, string.Join(", ", status.GetBlocked()));
                await Task.Delay(10);
            }

            Task<MegaPipeStackReport> first = sampler.SampleAsync(TimeSpan.FromMilliseconds(300));
            MegaPipeStackReport second = await sampler.SampleAsync(MegaPipeStackSampler.MinDuration);
            Assert.Contains("Somebody else", second.Problem, StringComparison.Ordinal);
            Assert.Empty(second.Stacks);
            MegaPipeStackReport report = await first;
            Assert.Null(report.Problem);
            MegaPipeStackSample stack = Assert.Single( // at the very end it may have another one
                report.Stacks.Take(1), stack => stack.Title == "GET /forever" &&
                    stack.Where?.EndsWith($"{nameof(StackTests)}.{nameof(Forever)}", StringComparison.Ordinal) == true);
            Assert.Contains(
                status.GetBlocked(), row => row.Title == "GET /forever" && row.Threads.Contains(stack.ThreadId));
        }
        finally
        {
            release.Release();
        }

        Assert.Equal("x", await request);
    }

    [Fact]
    public async Task Sampling_LeavesNoFileAndEndsByItsToken()
    {
        await using PageHost host = await StartAsync(static _ => { });
        MegaPipeStackSampler sampler = host.Services.GetRequiredService<MegaPipeStackSampler>();
        using CancellationTokenSource stop = new(TimeSpan.FromMilliseconds(100));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => sampler.SampleAsync(MegaPipeStackSampler.MaxDuration, stop.Token));
        Assert.Empty(Directory.GetDirectories(Path.GetTempPath(), $"megapipe-stacks-{Environment.ProcessId}-*"));
        Assert.Null((await sampler.SampleAsync(MegaPipeStackSampler.MinDuration)).Problem);
        Assert.Empty(Directory.GetDirectories(Path.GetTempPath(), $"megapipe-stacks-{Environment.ProcessId}-*"));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => sampler.SampleAsync(TimeSpan.Zero));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => sampler.SampleAsync(TimeSpan.FromSeconds(11)));
    }

    [Fact]
    public async Task Page_OffersThemByPostOnlyAndToItselfOnly()
    {
        await using PageHost host = await StartAsync(static _ => { });
        using JsonDocument state = JsonDocument.Parse(await host.Client.GetStringAsync("/megapipe/state"));
        Assert.True(state.RootElement.GetProperty("stacks").GetBoolean());
        using HttpResponseMessage get = await host.Client.GetAsync("/megapipe/stacks");
        Assert.Equal(HttpStatusCode.MethodNotAllowed, get.StatusCode);
        using HttpRequestMessage other = new(HttpMethod.Post, "/megapipe/stacks");
        other.Headers.Add("Sec-Fetch-Site", "cross-site");
        using HttpResponseMessage refused = await host.Client.SendAsync(other);
        Assert.Equal(HttpStatusCode.Forbidden, refused.StatusCode);
    }

    [Fact]
    public async Task WithoutAddMegaPipeStacks_ThePageHasNone()
    {
        await using PageHost host = await PageHost.StartAsync();
        using JsonDocument state = JsonDocument.Parse(await host.Client.GetStringAsync("/megapipe/state"));
        Assert.False(state.RootElement.GetProperty("stacks").GetBoolean());
        using HttpResponseMessage response = await host.Client.PostAsync("/megapipe/stacks", null);
        Assert.Equal(HttpStatusCode.NotFound, response.StatusCode);
    }
}
