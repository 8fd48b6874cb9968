// A folder as crank's agent lays it out (each source under its name), and the generators that prepare would build.
using System.Net;
using System.Net.Sockets;
using System.Text.Json;

namespace MegaPipe.Crank.Tests;

public sealed class AgentFolder : IDisposable
{
    private static readonly TimeSpan s_buildLimit = TimeSpan.FromMinutes(3);
    private static readonly TimeSpan s_runLimit = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan s_startLimit = TimeSpan.FromSeconds(30);
    private readonly Lazy<Task> _generators;
    private readonly Lazy<Task<(string Transport, string Reason)>> _megaPipe;

    public AgentFolder()
    {
        Path = Directory.CreateTempSubdirectory("megapipe-crank-tests-").FullName;
        Artifacts = Directory.CreateDirectory(System.IO.Path.Combine(Path, "artifacts")).FullName;
        string generators = Directory.CreateDirectory(System.IO.Path.Combine(Artifacts, "generators")).FullName;
        Link(System.IO.Path.Combine(Artifacts, "webapp"), Repository.WebApp);
        Link(System.IO.Path.Combine(Artifacts, "proxy"), Repository.Proxy);
        Link(System.IO.Path.Combine(Artifacts, "grpc"), Repository.Grpc);
        Link(System.IO.Path.Combine(Path, "app"), Repository.WebApp);
        Link(System.IO.Path.Combine(Path, "load"), System.IO.Path.Combine(Repository.Crank, "load"));
        Link(System.IO.Path.Combine(Path, "generators"), generators);
        _generators = new(() => BuildGeneratorsAsync(generators));
        _megaPipe = new(AskMegaPipeAsync);
    }

    public string Path { get; }

    /// <summary>What prepare would fill: webapp/, proxy/, grpc/ and generators/.</summary>
    public string Artifacts { get; }

    /// <summary>Builds our own generators once; needs a C compiler and make.</summary>
    public Task EnsureGeneratorsAsync() => _generators.Value;

    /// <summary>Which transport really serves when MegaPipe is asked for, and why if it is another one.</summary>
    public Task<(string Transport, string Reason)> GetMegaPipeAsync() => _megaPipe.Value;

    public static int GetFreePort() => GetFreePorts(1);

    /// <summary>
    /// The first of several consecutive free ports, below those that the kernel gives to clients: the load's own
    /// connections would take one of them between this look and the server's bind.
    /// </summary>
    public static int GetFreePorts(int count)
    {
        const int First = 10_000;
        const int Tries = 1_000;
        int firstOfClients = int.Parse(
            File.ReadAllText("/proc/sys/net/ipv4/ip_local_port_range").Split((char[]?)null, 2)[0],
            System.Globalization.CultureInfo.InvariantCulture);
        int end = Math.Max(First + 1_000, firstOfClients) - count;
        for (int i = 0; i < Tries; i++)
        {
            int port = Random.Shared.Next(First, end);
            if (Enumerable.Range(port, count).All(IsFree))
            {
                return port;
            }
        }

        throw new InvalidOperationException($"No {count} free ports in a row from {First} to {end}.");
    }

    /// <summary>
    /// What run-local reports of the one round in which it has measured stock in <paramref name="scenario"/> of
    /// <paramref name="config"/>.benchmarks.yml, with so many ports.
    /// </summary>
    public async Task<JsonElement> RunOneRoundAsync(string config, string scenario, int ports)
    {
        await EnsureGeneratorsAsync();
        string results = System.IO.Path.Combine(Path, "results", scenario);
        string cpu = (await File.ReadAllTextAsync("/sys/devices/system/cpu/online")).Trim();
        using RunProcess process = RunProcess.Start(
            System.IO.Path.Combine(Repository.Crank, "run-local"),
            $"--no-build --artifacts {Artifacts} --base-port {GetFreePorts(ports)} --server-cpus {cpu} " +
            $"--load-cpus {cpu} --config {config}.benchmarks.yml --scenario {scenario} --rounds 1 " +
            $"--warmup-visits 0 --settle 0 --target sockets --output {results}",
            Path);
        int exitCode = await process.WaitForExitAsync(s_runLimit);
        Assert.True(exitCode is 0 or 3, process.Output); // 3: the generator was the bottleneck
        using JsonDocument report = JsonDocument.Parse(
            await File.ReadAllTextAsync(System.IO.Path.Combine(results, "results.json")));
        JsonElement target = report.RootElement.GetProperty("scenarios")[0].GetProperty("targets")[0];
        return target.GetProperty("rounds")[0].Clone();
    }

    /// <summary>What the agent resolves an executable to.</summary>
    public string Executable(string executable) => System.IO.Path.Combine(Path, executable);

    public void Dispose() => Directory.Delete(Path, recursive: true);

    private static bool IsFree(int port)
    {
        using TcpListener listener = new(IPAddress.Any, port);
        try
        {
            listener.Start();
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }

    private static void Link(string path, string target) => Directory.CreateSymbolicLink(path, target);

    private static async Task BuildGeneratorsAsync(string folder)
    {
        await RunAsync("make", "-C native -s bench examples");
        foreach (string file in new[] { "bench/mp-load", "examples/epoll-http" })
        {
            Link(
                System.IO.Path.Combine(folder, System.IO.Path.GetFileName(file)),
                System.IO.Path.Combine(Repository.Root, "native/build", file));
        }
    }

    private static async Task RunAsync(string tool, string arguments)
    {
        using RunProcess process = RunProcess.Start(tool, arguments, Repository.Root);
        int exitCode = await process.WaitForExitAsync(s_buildLimit);
        Assert.True(exitCode == 0, $"{tool} {arguments}: {process.Output}");
    }

    private async Task<(string Transport, string Reason)> AskMegaPipeAsync()
    {
        int port = GetFreePort();
        using RunProcess app = RunProcess.Start(
            Executable("app/WebApp"), $"--transport megapipe --urls http://127.0.0.1:{port}", Path,
            "Application started.");
        await app.WaitUntilReadyAsync(s_startLimit);
        using HttpClient client = new();
        string text = await client.GetStringAsync($"http://127.0.0.1:{port}/transport");
        using JsonDocument report = JsonDocument.Parse(text);
        return (report.RootElement.GetProperty("transport").GetString()!,
            report.RootElement.GetProperty("fallbackReason").GetString() ?? "no reason given");
    }
}
