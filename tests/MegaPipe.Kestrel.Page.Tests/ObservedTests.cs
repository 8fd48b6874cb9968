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

    [Fact]
    public async Task Otlp_BringsTheInstrumentsOfTheGlossaryAndTheSpanOfWhatBlocked()
    {
        await using OtlpReceiver receiver = await OtlpReceiver.StartAsync();
        int port = FreePort();
        using Process app = Start(
            port, ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.Address), ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_SERVICE_NAME", "observed-test"), ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
            ("OTEL_BSP_SCHEDULE_DELAY", "300"));
        try
        {
            using HttpClient client = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
            await WaitAsync(async () => (await client.GetAsync("/ready")).StatusCode == HttpStatusCode.OK);
            (string Name, string Kind, string Unit)[] expected = await InstrumentsAsync();
            Assert.True(expected.Length > 25, $"{expected.Length} instruments");
            ReceivedSpan? blocked = null;
            await WaitAsync(
                async () =>
                {
                    using HttpClient fresh = new() { BaseAddress = client.BaseAddress };
                    await fresh.GetStringAsync("/quick");
                    await fresh.GetStringAsync("/orders/7");
                    blocked = receiver.Spans.FirstOrDefault(span =>
                        span.Name.StartsWith("blocked GET /orders/", StringComparison.Ordinal) &&
                        receiver.Spans.Any(request => request.Id == span.Parent));
                    // The metric may come later than the span, and later than that of another endpoint.
                    return blocked is not null && expected.All(one => receiver.Metrics.ContainsKey(one.Name)) &&
                        receiver.Metrics["megapipe.blocked.duration"].Points.Any(IsOfOrders) &&
                        receiver.Metrics.TryGetValue("kestrel.active_connections", out _);
                },
                () => $"{blocked}; " + string.Join(
                    ", ", expected.Where(one => !receiver.Metrics.ContainsKey(one.Name))));
            Assert.Equal("observed-test", receiver.Resource["service.name"]);
            Assert.Equal(
                expected.Order(),
                receiver.Metrics.Values.Where(metric => metric.Scope == "MegaPipe.Kestrel")
                    .Select(metric => (metric.Name, metric.Kind, metric.Unit)).Order());
            Assert.All(receiver.Metrics.Values, metric => Assert.NotEmpty(metric.Description));
            AssertAttributes(receiver, port);
            Assert.Equal("MegaPipe.Kestrel", blocked!.Scope);
            Assert.Equal("GET", blocked.Attributes["http.request.method"]);
            Assert.Equal("/orders/{id:int}", blocked.Attributes["http.route"]);
        }
        finally
        {
            app.Kill();
            await app.WaitForExitAsync();
        }
    }

    private static bool IsOfOrders(IReadOnlyDictionary<string, object> point) =>
        point.GetValueOrDefault("http.request.method") is "GET" &&
        point.GetValueOrDefault("http.route") is "/orders/{id:int}";

    private static void AssertAttributes(OtlpReceiver receiver, int port)
    {
        IReadOnlyDictionary<string, object>[] Points(string name) => [.. receiver.Metrics[name].Points];
        Assert.All(Points("megapipe.connection.count"), point =>
        {
            Assert.Equal("127.0.0.1", point["server.address"]);
            Assert.Equal((long)port, point["server.port"]);
            Assert.Equal("tcp", point["network.transport"]);
            Assert.Equal("ipv4", point["network.type"]);
            Assert.IsType<long>(point["megapipe.channel"]);
        });
        Assert.All(
            Points("megapipe.system_calls"), point => Assert.Equal(["megapipe.channel"], point.Keys));
        Assert.Contains(
            Points("megapipe.blocked.duration"),
            point => IsOfOrders(point) && point["megapipe.thread"] is "carrier" or "pool");
        Assert.Equal(
            ["carrying", "spare"],
            Points("megapipe.carrier.count").Select(point => point["megapipe.carrier.state"]).Order());
        Assert.Equal(0.002, receiver.Metrics["megapipe.blocked.duration"].Bounds[0]); // as advised
        // Kestrel's own say the same of the same connections.
        Assert.Contains(Points("kestrel.active_connections"), point =>
            (string)point["server.address"] == "127.0.0.1" && (long)point["server.port"] == port &&
            (string)point["network.transport"] == "tcp" && (string)point["network.type"] == "ipv4");
    }

    /// <summary>As docs/GLOSSARY.md has them.</summary>
    private static async Task<(string Name, string Kind, string Unit)[]> InstrumentsAsync()
    {
        string glossary = await File.ReadAllTextAsync(Path.Combine(s_sample, "../../docs/GLOSSARY.md"));
        return
        [
            .. Instrument().Matches(glossary).Select(row =>
                (row.Groups[1].Value, row.Groups[2].Value, row.Groups[3].Value)),
        ];
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

    [GeneratedRegex(@"^\| `(megapipe\.[a-z_.]+)` \| ([a-z -]+), `([^`]+)` \|", RegexOptions.Multiline)]
    private static partial Regex Instrument();

    [GeneratedRegex(@"\b(megapipe|kestrel)_[a-z_]+(?=\{)")]
    private static partial Regex Series();
}
