// Starts and stops that are cancelled, at every step: nothing throws that stock does not throw, nothing stays bound.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class StartContract(TransportKind kind)
{
    private const int EndPoints = 3;

    /// <summary>Before which endpoint's bind, or after all.</summary>
    public static TheoryData<int> Steps => [.. Enumerable.Range(0, EndPoints + 1)];

    [Fact]
    public async Task Start_TokenCancelledBefore_ThrowsThatAndNothingIsBound()
    {
        LeakCheck leaks = LeakCheck.Start();
        await using (WebApplication app = Build(_ => { }, new LogCapture()))
        {
            await Assert.ThrowsAnyAsync<OperationCanceledException>(
                () => app.StartAsync(new CancellationToken(canceled: true)).InTime());
        }

        await leaks.AssertNothingLeft(kind, null);
    }

    [Theory]
    [MemberData(nameof(Steps))]
    public async Task Start_TokenCancelledAtABind_StartsToItsEnd(int step)
    {
        LeakCheck leaks = LeakCheck.Start();
        using CancellationTokenSource source = new();
        List<EndPoint> bound = [];
        await using (WebApplication app = Build(
            factory => factory.At = (index, endPoint) =>
            {
                Cancel(index == step, source.Cancel);
                bound.Add(endPoint);
            },
            new LogCapture()))
        {
            Exception? error = await Record.ExceptionAsync(() => app.StartAsync(source.Token).InTime());
            Assert.Null(error);
            Assert.Equal(EndPoints, bound.Count);
            await app.StopAsync().InTime();
        }

        await leaks.AssertNothingLeft(kind, null);
    }

    [Theory]
    [MemberData(nameof(Steps))]
    public async Task Start_HostToldToStopAtABind_RunEndsQuietly(int step)
    {
        LeakCheck leaks = LeakCheck.Start();
        LogCapture logs = new();
        WebApplication? app = null;
        app = Build(
            factory => factory.At = (index, _) => Cancel(index == step, app!.Lifetime.StopApplication), logs);
        Task run = app.RunAsync();
        if (step == EndPoints)
        {
            await Started(app).InTime();
            app.Lifetime.StopApplication();
        }

        await run.InTime();
        await app.DisposeAsync().AsTask().InTime();
        Assert.DoesNotContain(logs.Entries, entry => entry.Level >= LogLevel.Warning && !entry.IsStart);
        await leaks.AssertNothingLeft(kind, null);
    }

    [Theory]
    [MemberData(nameof(Steps))]
    public async Task Start_BindFails_ThoseBeforeAreUnbound(int step)
    {
        LeakCheck leaks = LeakCheck.Start();
        await using (WebApplication app = Build(
            factory => factory.At = (index, _) => Cancel(
                index == step, () => throw new InvalidOperationException("no more")),
            new LogCapture()))
        {
            if (step < EndPoints)
            {
                InvalidOperationException error = await Assert.ThrowsAsync<InvalidOperationException>(
                    () => app.StartAsync().InTime());
                Assert.Equal("no more", error.Message);
            }
            else
            {
                await app.StartAsync().InTime();
            }
        }

        await leaks.AssertNothingLeft(kind, null);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Stop_TokenCancelledBefore_EndsAndNothingIsBound(bool withConnections)
    {
        LeakCheck leaks = LeakCheck.Start();
        List<Socket> clients = [];
        await using (WebApplication app = Build(_ => { }, new LogCapture()))
        {
            await app.StartAsync().InTime();
            for (int i = 0; withConnections && i < 5; i++)
            {
                Socket client = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
                await client.ConnectAsync(IPAddress.Loopback, new Uri(app.Urls.First()).Port).InTime();
                await client.SendAllAsync("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
                clients.Add(client);
            }

            await app.StopAsync(new CancellationToken(canceled: true)).InTime();
        }

        clients.ForEach(client => client.Dispose());
        await leaks.AssertNothingLeft(kind, null);
    }

    [Fact]
    public async Task Dispose_NeverStopped_NothingIsBound()
    {
        LeakCheck leaks = LeakCheck.Start();
        WebApplication app = Build(_ => { }, new LogCapture());
        await app.StartAsync().InTime();
        await app.DisposeAsync().AsTask().InTime();
        await leaks.AssertNothingLeft(kind, null);
    }

    [Fact]
    public async Task Dispose_NeverStarted_NothingIsLeft()
    {
        LeakCheck leaks = LeakCheck.Start();
        await Build(_ => { }, new LogCapture()).DisposeAsync().AsTask().InTime();
        await leaks.AssertNothingLeft(kind, null);
    }

    /// <summary>
    /// What an orchestrator does to a process that it is still starting: SIGTERM at each bind, the process ends with 0
    /// and says nothing.
    /// </summary>
    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(EndPoints - 1)]
    public async Task Start_Sigterm_ProcessEndsWithZeroAndSaysNothing(int step)
    {
        await using ChildProcess child = await ChildProcess.StartAsync(InterruptedCommand, $"{kind}", $"{step}");
        Assert.Equal("", await child.EndAsync());
        Assert.Equal(0, child.ExitCode);
    }

    internal const string InterruptedCommand = "interrupted-start";

    /// <summary>The child: kind and step.</summary>
    internal static async Task<int> RunInterruptedAsync(string kind, int step)
    {
        Console.WriteLine($"{ChildProcess.Ready}");
        WebApplication? app = null;
        using ManualResetEventSlim stopping = new();
        app = Build(
            Enum.Parse<TransportKind>(kind),
            factory => factory.At = (index, _) => Cancel(index == step, () =>
            {
                Signals.TerminateSelf();
                Assert.True(stopping.Wait(InTimeExtensions.Limit));
            }),
            new LogCapture());
        app.Lifetime.ApplicationStopping.Register(stopping.Set);
        await app.RunAsync();
        return 0;
    }

    private static void Cancel(bool now, Action cancel)
    {
        if (now)
        {
            cancel();
        }
    }

    private static Task Started(WebApplication app)
    {
        TaskCompletionSource started = new(TaskCreationOptions.RunContinuationsAsynchronously);
        app.Lifetime.ApplicationStarted.Register(started.SetResult);
        return started.Task;
    }

    private WebApplication Build(Action<HookedFactory> hook, LogCapture logs) => Build(kind, hook, logs);

    private static WebApplication Build(TransportKind kind, Action<HookedFactory> hook, LogCapture logs)
    {
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.Logging.SetMinimumLevel(LogLevel.Trace).AddProvider(logs);
        builder.WebHost.UseKestrelCore();
        builder.WebHost.UseTransport(kind, new TransportSettings());
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromSeconds(20));
        ServiceDescriptor inner = builder.Services.Last(
            service => service.ServiceType == typeof(IConnectionListenerFactory));
        builder.Services.Remove(inner);
        builder.Services.AddSingleton<IConnectionListenerFactory>(services =>
        {
            HookedFactory factory = new((IConnectionListenerFactory)(inner.ImplementationFactory?.Invoke(services)
                ?? ActivatorUtilities.CreateInstance(services, inner.ImplementationType!)));
            hook(factory);
            return factory;
        });
        builder.WebHost.ConfigureKestrel(options =>
        {
            for (int i = 0; i < EndPoints; i++)
            {
                options.Listen(IPAddress.Loopback, 0);
            }
        });
        WebApplication app = builder.Build();
        app.Run(context => context.Response.WriteAsync("hello"));
        return app;
    }

    /// <summary>The transport's factory, with something done at each bind.</summary>
    private sealed class HookedFactory(IConnectionListenerFactory inner)
        : IConnectionListenerFactory, IConnectionListenerFactorySelector
    {
        private int _binds;

        public Action<int, EndPoint> At { get; set; } = (_, _) => { };

        public bool CanBind(EndPoint endpoint) => ((IConnectionListenerFactorySelector)inner).CanBind(endpoint);

        public ValueTask<IConnectionListener> BindAsync(
            EndPoint endpoint, CancellationToken cancellationToken = default)
        {
            At(_binds++, endpoint);
            return inner.BindAsync(endpoint, cancellationToken);
        }
    }
}
