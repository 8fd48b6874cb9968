// This assembly started again as a process of its own, for tests that change or fill a whole process.
using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Kestrel.Tests.Support;

internal sealed class ChildProcess : IAsyncDisposable
{
    private const string IdleClients = "idle-clients";
    private const string LimitedServer = "limited-server";
    private const int MostErrorsShown = 3;
    private const int PoolThreads = 32;

    /// <summary>What a child's first line of output begins with; the rest of it is its answer.</summary>
    internal const string Ready = "READY ";

    private readonly Process _process;

    private readonly Task<string> _errors;
    private bool _ended;

    private ChildProcess(Process process)
    {
        _process = process;
        _errors = process.StandardError.ReadToEndAsync();
    }

    /// <summary>What the child said with its ready line.</summary>
    public string Answer { get; private set; } = "";

    /// <summary>
    /// Entry point of the child; the test host loads this assembly as a library and never comes here.
    /// </summary>
    public static async Task<int> Main(string[] args)
    {
        switch (args)
        {
            case [IdleClients, string port, string count]:
                await RunIdleClientsAsync(
                    int.Parse(port, CultureInfo.InvariantCulture), int.Parse(count, CultureInfo.InvariantCulture));
                return 0;
            case [LimitedServer, string kind, string spareFds]:
                await RunLimitedServerAsync(
                    Enum.Parse<TransportKind>(kind), int.Parse(spareFds, CultureInfo.InvariantCulture));
                return 0;
            case [Configuration.DeniedServer.Command, .. string[] rest]:
                return await Configuration.DeniedServer.RunAsync(rest);
            case [Faults.LateDenial.Command, string kind, string errno]:
                return await Faults.LateDenial.RunAsync(
                    Enum.Parse<TransportKind>(kind), int.Parse(errno, CultureInfo.InvariantCulture));
            case [Scheduling.GuardedServer.Command, .. string[] rest]:
                return await Scheduling.GuardedServer.RunAsync(rest);
            case [Host.StartContract.InterruptedCommand, string kind, string step]:
                return await Host.StartContract.RunInterruptedAsync(
                    kind, int.Parse(step, CultureInfo.InvariantCulture));
            case [Configuration.LockedMemoryServer.Command, string kibibytes, string fallback]:
                return await Configuration.LockedMemoryServer.RunAsync(
                    ulong.Parse(kibibytes, CultureInfo.InvariantCulture), fallback);
            case [Configuration.DeniedSuite.Command, .. string[] rest]:
                return Configuration.DeniedSuite.Run(rest);
            case [Scheduling.BoundedServer.Command, .. string[] rest]:
                return await Scheduling.BoundedServer.RunAsync(rest);
            case [Balancing.HungServer.Command, .. string[] rest]:
                return await Balancing.HungServer.RunAsync(rest);
            case [Scheduling.StuckPoolServer.Command]:
                return await Scheduling.StuckPoolServer.RunAsync();
            case [Scheduling.ThreadServer.Command, .. string[] rest]:
                return await Scheduling.ThreadServer.RunAsync(rest);
            case [Scheduling.ThreadServer.BindCommand, string fallback]:
                return await Scheduling.ThreadServer.BindWithoutThreadsAsync(fallback);
            case [Faults.LateReader.Command, .. string[] rest]:
                return await Faults.LateReader.RunAsync(rest);
            default:
                await Console.Error.WriteLineAsync($"Unknown child command: {string.Join(' ', args)}");
                return 2;
        }
    }

    /// <summary>A child that holds that many connected, silent clients until it is disposed.</summary>
    public static Task<ChildProcess> StartIdleClientsAsync(int port, int count) =>
        StartAsync(IdleClients, $"{port}", $"{count}");

    /// <summary>A child that serves, and answers with its port, and may open only a few more fds.</summary>
    public static Task<ChildProcess> StartLimitedServerAsync(TransportKind kind, int spareFds) =>
        StartAsync(LimitedServer, $"{kind}", $"{spareFds}");

    /// <summary>After <see cref="EndAsync"/>.</summary>
    public int ExitCode => _process.ExitCode;

    /// <summary>One line on the child's standard input.</summary>
    public Task TellAsync(string line) => _process.StandardInput.WriteLineAsync(line).InTime("the child to listen");

    /// <summary>Everything that the child writes after its ready line, until it ends by itself.</summary>
    public async Task<string> ReadToEndAsync(TimeSpan limit)
    {
        Task<string> rest = _process.StandardOutput.ReadToEndAsync();
        try
        {
            await rest.InTime("the child's end", limit);
        }
        catch
        {
            _process.Kill(entireProcessTree: true);
            throw;
        }

        return await rest;
    }

    public async ValueTask DisposeAsync()
    {
        await EndAsync();
        // Process.Dispose leaves redirected streams that somebody has read to their finalizers: two fds too many.
        _process.StandardOutput.Dispose();
        _process.StandardError.Dispose();
        _process.Dispose();
    }

    /// <summary>Tells the child to end, waits for it, and gives what it wrote to its standard error.</summary>
    public async Task<string> EndAsync()
    {
        if (!_ended)
        {
            _ended = true;
            _process.StandardInput.Close();
            try
            {
                await _process.WaitForExitAsync().InTime("the child's end");
            }
            catch
            {
                _process.Kill();
                throw;
            }
        }

        return await _errors.InTime();
    }

    /// <summary>A child that runs a command of <see cref="Main"/>.</summary>
    internal static async Task<ChildProcess> StartAsync(params string[] arguments)
    {
        string assembly = typeof(ChildProcess).Assembly.Location;
        string runtimes = Path.GetDirectoryName(typeof(object).Assembly.Location)!;
        ProcessStartInfo start = new(Path.GetFullPath(Path.Combine(runtimes, "../../../dotnet")))
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (string argument in (string[])["exec", assembly, .. arguments])
        {
            start.ArgumentList.Add(argument);
        }

        // The runtime ends the process ("Out of memory.") when it cannot start a thread or map code for want of an
        // fd; with these it needs none later on, so that a fd limit meets sockets only.
        start.Environment["DOTNET_TieredCompilation"] = "0";
        start.Environment["DOTNET_EnableWriteXorExecute"] = "0";
        ChildProcess child = new(Process.Start(start)!);
        string? line = await child._process.StandardOutput.ReadLineAsync().InTime("the child's ready line");
        if (line is null || !line.StartsWith(Ready, StringComparison.Ordinal))
        {
            string errors = await child.EndAsync();
            child._process.Dispose();
            Assert.Fail($"The child said: {line}{Environment.NewLine}{errors}");
        }

        child.Answer = line[Ready.Length..];
        return child;
    }

    private static void StartPoolThreads()
    {
        ThreadPool.SetMinThreads(PoolThreads, PoolThreads);
        using Barrier allRun = new(PoolThreads + 1);
        for (int i = 0; i < PoolThreads; i++)
        {
            ThreadPool.UnsafeQueueUserWorkItem(_ => allRun.SignalAndWait(), null);
        }

        allRun.SignalAndWait(InTimeExtensions.Limit);
    }

    private static async Task RunIdleClientsAsync(int port, int count)
    {
        List<Socket> sockets = [];
        for (int i = 0; i < count; i++)
        {
            Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            await socket.ConnectAsync(IPAddress.Loopback, port);
            sockets.Add(socket);
        }

        Console.WriteLine($"{Ready}{sockets.Count}");
        await Console.In.ReadLineAsync();
        sockets.ForEach(socket => socket.Dispose());
    }

    private static async Task RunLimitedServerAsync(TransportKind kind, int spareFds)
    {
        HostHarness host = await HostHarness.StartAsync(kind, context => context.Response.WriteAsync("hello"));
        // Everything that a request needs is loaded before the limit, so that only sockets meet it.
        for (int i = 0; i < 20; i++)
        {
            await host.AssertServesAsync();
        }

        StartPoolThreads();
        FileLimit.SetSoft(Directory.GetFileSystemEntries("/proc/self/fd").Length + spareFds);
        Console.WriteLine($"{Ready}{host.BaseAddress.Port}");
        await Console.In.ReadLineAsync();
        foreach (LogEntry entry in host.Logs.Entries.Where(entry => entry.Exception is not null).Take(MostErrorsShown))
        {
            await Console.Error.WriteLineAsync(
                $"child: {entry.Category}[{entry.Id.Id}] {entry.Message} {entry.Exception}");
        }

        await host.StopAsync();
    }
}
