// samples/Observed as it is started: what it exports is what its dashboard asks for.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace MegaPipe.Kestrel.Page.Tests;

public sealed partial class ObservedTests
{
    private static readonly string s_sample = Path.GetFullPath(
        Path.Combine(AppContext.BaseDirectory, "../../../../../samples/Observed"));

    [Fact]
    public async Task Prometheus_HasEverySeriesThatTheDashboardAsksFor()
    {
        int port = FreePort();
        using Process app = Start(port);
        try
        {
            using HttpClient client = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
            await WaitAsync(async () => (await client.GetAsync("/ready")).StatusCode == HttpStatusCode.OK);
            foreach (string path in (string[])["/quick", "/orders/7", "/stock", "/report", "/alive", "/health"])
            {
                using HttpResponseMessage response = await client.GetAsync(path);
                Assert.Equal(HttpStatusCode.OK, response.StatusCode);
            }

            string[] names =
            [
                .. Series().Matches(await File.ReadAllTextAsync(Path.Combine(s_sample, "grafana.json")))
                    .Select(match => match.Value).Distinct(),
            ];
            Assert.True(names.Length > 15, $"{names.Length} names");
            string[] missing = names;
            await WaitAsync(async () =>
            {
                // What is recorded only when something blocks, or only when nothing does, may take a try more on a
                // busy machine. A connection that has blocked is served by the pool from then on: a new one.
                using HttpClient fresh = new() { BaseAddress = client.BaseAddress };
                await fresh.GetStringAsync("/quick");
                await fresh.GetStringAsync("/orders/7");
                string metrics = await client.GetStringAsync("/metrics");
                missing = [.. names.Where(name => !Regex.IsMatch(metrics, $"^{name}[ {{]", RegexOptions.Multiline))];
                return missing.Length == 0;
            }, () => string.Join(", ", missing));
        }
        finally
        {
            app.Kill();
            await app.WaitForExitAsync();
        }
    }

    [Fact]
    public async Task Stacks_WithoutTheRuntimesDiagnostics_SaysSo()
    {
        int port = FreePort();
        using Process app = Start(port, ("DOTNET_EnableDiagnostics", "0"));
        try
        {
            using HttpClient client = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
            await WaitAsync(async () => (await client.GetAsync("/ready")).StatusCode == HttpStatusCode.OK);
            using HttpResponseMessage response = await client.PostAsync("/megapipe/stacks", null);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
            using JsonDocument answer = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
            Assert.Contains(
                "DOTNET_EnableDiagnostics=0", answer.RootElement.GetProperty("problem").GetString(),
                StringComparison.Ordinal);
            Assert.Equal(0, answer.RootElement.GetProperty("stacks").GetArrayLength());
        }
        finally
        {
            app.Kill();
            await app.WaitForExitAsync();
        }
    }

    private static Process Start(int port, params (string Name, string Value)[] environment)
    {
        ProcessStartInfo start = new(Environment.ProcessPath is { } path && path.EndsWith("dotnet",
            StringComparison.Ordinal) ? path : "dotnet")
        {
            WorkingDirectory = s_sample,
            UseShellExecute = false,
        };
        foreach ((string name, string value) in environment)
        {
            start.Environment[name] = value;
        }

        string folder = new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name; // Release or Debug
        start.ArgumentList.Add(Path.Combine(s_sample, $"bin/{folder}/net10.0/Observed.dll"));
        start.ArgumentList.Add("--urls");
        start.ArgumentList.Add($"http://127.0.0.1:{port}");
        return Process.Start(start)!;
    }

    private static async Task WaitAsync(Func<Task<bool>> condition, Func<string>? describe = null)
    {
        long end = Environment.TickCount64 + 60_000;
        while (true)
        {
            try
            {
                if (await condition())
                {
                    return;
                }
            }
            catch (HttpRequestException)
            {
                // not up yet
            }

            Assert.True(Environment.TickCount64 < end, describe?.Invoke() ?? "in time");
            await Task.Delay(50);
        }
    }

    private static int FreePort()
    {
        using Socket socket = new(SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }

    [GeneratedRegex(@"\b(megapipe|kestrel)_[a-z_]+(?=\{)")]
    private static partial Regex Series();
}
