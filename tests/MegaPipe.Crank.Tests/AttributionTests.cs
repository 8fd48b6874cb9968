// What the runner makes of samples and of cold starts, without a server: its modules run as programs on small files.
using System.Text.Json;

namespace MegaPipe.Crank.Tests;

public sealed class AttributionTests : IDisposable
{
    private const string Compiled = "[OptimizedTier1] (/tmp/perf-7.map)";
    private const string Frameworks = "/usr/share/dotnet/shared";
    private static readonly TimeSpan s_limit = TimeSpan.FromMinutes(2);
    private readonly string _folder = Directory.CreateTempSubdirectory("megapipe-attribution-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [LoadJobTheory]
    [InlineData("tcp_ack ([kernel.kallsyms])|io_send ([kernel.kallsyms])|__do_sys_io_uring_enter ([kernel.kallsyms])",
        "kernel", "send", "tcp_ack")]
    [InlineData("tcp_recvmsg_locked ([kernel.kallsyms])|tcp_recvmsg ([kernel.kallsyms])|io_recv ([kernel.kallsyms])",
        "kernel", "receive", "tcp_recvmsg_locked")]
    [InlineData(
        "finish_task_switch.isra.0 ([kernel.kallsyms])|schedule ([kernel.kallsyms])|do_epoll_wait ([kernel.kallsyms])",
        "kernel", "switch", "finish_task_switch.isra.0")]
    [InlineData("io_submit_sqes ([kernel.kallsyms])", "kernel", "io_uring", "io_submit_sqes")]
    [InlineData(
        "instance bool [MegaPipe.Kestrel] MegaPipe.Kestrel.Internal.Pipes.LeasePipeReader::TryRead(class "
        + "[System.IO.Pipelines]System.IO.Pipelines.ReadResult&)" + Compiled,
        "transport", "MegaPipe.Kestrel.Internal.Pipes", "LeasePipeReader::TryRead")]
    [InlineData(
        "instance void [System.Net.Sockets] System.Net.Sockets.SocketAsyncEngine::EventLoop()" + Compiled,
        "transport", "System.Net.Sockets", "SocketAsyncEngine::EventLoop")]
    [InlineData(
        "void [System.Private.CoreLib] System.Runtime.CompilerServices.AsyncTaskMethodBuilder`1+AsyncStateMachineBox`1"
        + "[System.__Canon,MegaPipe.Kestrel.Internal.Pipes.X+<Run>d__4]::MoveNext()" + Compiled,
        "BCL", "System.Runtime.CompilerServices", "AsyncTaskMethodBuilder`1+AsyncStateMachineBox`1::MoveNext")]
    [InlineData(
        "instance void [Microsoft.AspNetCore.Server.Kestrel.Core] "
        + "Microsoft.AspNetCore.Server.Kestrel.Core.Internal.Http.HttpProtocol::Reset()" + Compiled,
        "Kestrel", "Microsoft.AspNetCore.Server.Kestrel.Core.Internal.Http", "HttpProtocol::Reset")]
    [InlineData("[unknown] (" + Frameworks + "/Microsoft.NETCore.App/10.0.0/System.IO.Pipelines.dll)",
        "pipelines", "System.IO.Pipelines", "precompiled code of System.IO.Pipelines.dll")]
    [InlineData("[unknown] (" + Frameworks + "/Microsoft.NETCore.App/10.0.0/libclrjit.so)",
        "runtime", "JIT compiler", "[unknown]")]
    [InlineData("stub<3> Link<UnboxingStub> (/tmp/perf-7.map)", "runtime", "stubs", "stub Link<UnboxingStub>")]
    [InlineData("[unknown] (/memfd:doublemapper (deleted))", "runtime", "stubs", "[unknown]")]
    [InlineData("__vdso_clock_gettime ([vdso])", "runtime", "libc", "__vdso_clock_gettime")]
    [InlineData("mp_dispatch (/app/libmegapipe.so)", "transport", "libmegapipe", "mp_dispatch")]
    [InlineData("main (/app/epoll-http)", "transport", "epoll-http", "main")]
    [InlineData("aes_gcm_enc_update (/usr/lib/libcrypto.so.3)", "TLS", "libcrypto.so.3", "aes_gcm_enc_update")]
    [InlineData("", "unknown", "no frame", "no frame")]
    public async Task Sample_BelongsToItsGroup(string frames, string group, string part, string symbol)
    {
        JsonElement report = await AttributeAsync(frames);
        JsonElement found = report.GetProperty("groups").GetProperty(group);
        Assert.Equal(100, found.GetProperty("usPerRequest").GetDouble());
        JsonElement symbols = found.GetProperty("parts").GetProperty(part).GetProperty("symbols");
        Assert.Equal(100, symbols.GetProperty(symbol).GetDouble());
    }

    [LoadJobTheory]
    [InlineData("InstrumentedTier", 50)]
    [InlineData("OptimizedTier1", 0)]
    public async Task Samples_InCodeThatCounts_AreUnsettled(string tier, double expected)
    {
        JsonElement report = await AttributeAsync(
            $"void [WebApp] WebApp.Routes::Plain(object)[{tier}] (/tmp/perf-7.map)", "main (/app/epoll-http)");
        Assert.Equal(2, report.GetProperty("samples").GetInt32());
        Assert.Equal(expected, report.GetProperty("unsettledUsPerRequest").GetDouble());
        Assert.Equal(
            50, report.GetProperty("groups").GetProperty("application").GetProperty("usPerRequest").GetDouble());
    }

    [LoadJobTheory]
    [InlineData("30,40,20,10,10,10,10,10", 3)] // the third second costs twice the last ones
    [InlineData("10,10,11,10,10,10,10,10", 0)]
    public async Task ColdStart_SettlesAfterTheLastDearSecond(string costs, int expected)
    {
        string visits = string.Join(',', costs.Split(',').Select(
            cost => $$"""{"cpuUsPerRequest": {{cost}}, "requests": {{(cost == "40" ? 300 : 100)}}}"""));
        JsonElement summary = await RunAsync("coldness.py", $"[[{visits}]]");
        Assert.Equal(expected, summary.GetProperty("settledAfter")[0].GetInt32());
        Assert.Equal(10, summary.GetProperty("last")[0].GetDouble());
        if (expected == 3)
        {
            // 300 requests of 40 µs, and 100 each of 20, 10 and 10: what is answered weighs, not the seconds.
            Assert.Equal(16_000 / 600.0, summary.GetProperty("early")[0].GetDouble(), tolerance: 1e-9);
        }
    }

    /// <summary>
    /// The second start goes through the same phases earlier: dearer in one second, and neither by rank nor in all.
    /// </summary>
    [LoadJobTheory]
    [InlineData("20,20,40,10", "18,36,9,9", 0.9, 1.35, 1.8)]
    [InlineData("20,10", "10,15", 1, 0.83, 1.5)]
    public async Task Coldness_OfTwoStarts_TellsPhasesFromCosts(
        string first, string second, double rank, double upTo, double worst)
    {
        string[] starts = [.. new[] { first, second }.Select(costs => "[" + string.Join(',', costs.Split(',').Select(
            cost => $$"""{"cpuUsPerRequest": {{cost}}, "requests": 100}""")) + "]")];
        JsonElement beside = (await RunAsync("coldness.py", $"[{string.Join(',', starts)}]")).GetProperty("beside");
        Assert.Equal(rank, beside.GetProperty("rank").GetDouble(), tolerance: 0.01);
        Assert.Equal(upTo, beside.GetProperty("upTo").GetDouble(), tolerance: 0.01);
        Assert.Equal(worst, beside.GetProperty("second").GetDouble(), tolerance: 0.01);
    }

    [LoadJobTheory]
    [InlineData("cold")]
    public async Task Publish_ReplacesBetweenItsMarksOnly(string kind)
    {
        const string Summary =
            """{"first": [30], "early": [20], "total": [15], "last": [10], "settledAfter": [9]}""";
        string document = Path.Combine(_folder, "page.md");
        await File.WriteAllTextAsync(document, "before\n<!-- measured: cold -->\nold\n<!-- end -->\nbehind\n");
        await File.WriteAllTextAsync(Path.Combine(_folder, "cold.json"), $$"""
            {"command": "crank/cold-start --target before=megapipe@/tmp/me/artifacts --output /tmp/x",
             "machine": {"date": "2026-01-02"}, "runtimeSettings": "s",
             "scenarios": [{"name": "json", "targets": {"sockets": {"summary": {{Summary}}, "starts": []} } }]}
            """);
        (int exitCode, string text) = await RunProcessAsync(
            Path.Combine(Repository.Crank, "publish"), $"--{kind} {_folder} --file {document}");
        Assert.True(exitCode == 0, text);
        string page = await File.ReadAllTextAsync(document);
        Assert.StartsWith("before\n<!-- measured: cold -->\n", page, StringComparison.Ordinal);
        Assert.EndsWith("<!-- end -->\nbehind\n", page, StringComparison.Ordinal);
        Assert.Contains("| json | sockets | 30.00 [30.00–30.00] |", page, StringComparison.Ordinal);
        Assert.Contains("\ncrank/cold-start --target before=megapipe@artifacts-of-before\n", page);
        Assert.DoesNotContain("old\n", page, StringComparison.Ordinal);
        string data = Path.Combine(_folder, "benchmarks", "2026-01-02", "cold.json");
        Assert.DoesNotContain("/tmp/me", await File.ReadAllTextAsync(data), StringComparison.Ordinal);
    }

    [LoadJobTheory]
    [InlineData("sockets", 0)]
    [InlineData("megapipe", 1)]
    public async Task PublishMany_ARowForEachNumber_RatiosToOneTarget(string firstOfSecond, int expected)
    {
        string document = Path.Combine(_folder, "page.md");
        await File.WriteAllTextAsync(document, "before\n<!-- measured: many -->\n<!-- end -->\nbehind\n");
        string[] runs = [.. new[] { ("sockets", 64), (firstOfSecond, 4096) }.Select(run => $$"""
            {"connections": {{run.Item2}}, "command": "crank/many-connections -c {{run.Item2}} --output /tmp/x",
             "targets": [
              {"name": "{{run.Item1}}", "settled": true, "ratios": [1],
               "rounds": [{"cpuUsPerRequest": 8}, {"cpuUsPerRequest": 10}]},
              {"name": "floor", "settled": null, "ratios": [0.5, 0.3, 0.4], "rounds": [{"cpuUsPerRequest": 4}]}]}
            """)];
        await File.WriteAllTextAsync(Path.Combine(_folder, "many.json"), $$"""
            {"machine": {"date": "2026-01-02"}, "runtimeSettings": "s", "runs": [{{string.Join(',', runs)}}]}
            """);
        (int exitCode, string text) = await RunProcessAsync(
            Path.Combine(Repository.Crank, "publish"), $"--many {_folder} --file {document}");
        Assert.True(exitCode == expected, text);
        string page = await File.ReadAllTextAsync(document);
        if (expected != 0)
        {
            Assert.Contains("with 4096 connections the ratios are not to sockets", text, StringComparison.Ordinal);
            return;
        }

        Assert.Contains("| connections | sockets, µs/request | floor, ratio |\n", page);
        Assert.Contains("\n| 64 | 9.00 [8.00–10.00] | 0.40 [0.30–0.50] |\n| 4,096 | 9.00 [", page);
        Assert.Contains("\ncrank/many-connections -c 64\ncrank/many-connections -c 4096\n```\n", page);
        Assert.Contains("\nSettled: 2 of 2. s\n", page);
    }

    /// <summary>A sample for each: its frames, innermost first, as perf writes them.</summary>
    private Task<JsonElement> AttributeAsync(params string[] samples) => RunAsync(
        "attribution.py",
        string.Concat(samples.Select(sample => "server 7\n" + string.Concat(
            sample.Split('|', StringSplitOptions.RemoveEmptyEntries).Select(frame => $"\t    7f00a1 {frame}\n"))
            + "\n")));

    private async Task<JsonElement> RunAsync(string module, string input)
    {
        string path = Path.Combine(_folder, "input");
        await File.WriteAllTextAsync(path, input);
        (int exitCode, string text) = await RunProcessAsync(
            "python3", $"-B {Path.Combine(Repository.Crank, "runner", module)} {path}");
        Assert.True(exitCode == 0, text);
        return JsonSerializer.Deserialize<JsonElement>(text);
    }

    private async Task<(int ExitCode, string Text)> RunProcessAsync(string executable, string arguments)
    {
        using RunProcess process = RunProcess.Start(executable, arguments, _folder);
        return (await process.WaitForExitAsync(s_limit), process.Output);
    }
}
