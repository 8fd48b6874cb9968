// The sample app as a user starts it: arguments, addresses, routes, the end.
using System.Net;
using System.Net.Security;
using System.Security.Cryptography;
using System.Text.Json;
using MegaPipe.Kestrel.Tests.Configuration;

namespace MegaPipe.Crank.Tests;

public sealed class SampleTests(AgentFolder folder) : IClassFixture<AgentFolder>
{
    private const string Ready = "Application started.";
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData("--transport quic", "'quic' is not one of megapipe, sockets, sockets-inline")]
    [InlineData("--trnsport sockets", "unknown argument '--trnsport'")]
    [InlineData("--https-port", "--https-port needs a value")]
    [InlineData("--h2c-port 70000", "'70000' is not a port from 1 to 65535")]
    public async Task Start_WrongArgument_OneLineAndStatus2(string arguments, string expected)
    {
        using RunProcess app = RunProcess.Start(folder.Executable("app/WebApp"), arguments, folder.Path);
        Assert.Equal(2, await app.WaitForExitAsync(s_limit));
        Assert.Contains(expected, Assert.Single(app.Output.TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("webapp/WebApp")]
    [InlineData("grpc/Grpc")]
    [InlineData("proxy/Proxy")]
    public async Task Start_AddressOfAnotherMachine_OneLineNamesItAndStatus1(string sample)
    {
        using RunProcess app = RunProcess.Start(
            Path.Combine(folder.Artifacts, sample), "--urls http://192.0.2.1:8080", folder.Path);
        Assert.Equal(1, await app.WaitForExitAsync(s_limit));
        Assert.Contains(
            "cannot listen on http://192.0.2.1:8080: ", Assert.Single(app.Output.TrimEnd().Split('\n')),
            StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("proxy/Proxy", "--backend", "--backend needs a value")]
    [InlineData("grpc/Grpc", "--backend none", "unknown argument '--backend'")]
    public async Task Start_ArgumentOfOneSample_IsUnknownToAnother(string sample, string arguments, string expected)
    {
        using RunProcess app = RunProcess.Start(Path.Combine(folder.Artifacts, sample), arguments, folder.Path);
        Assert.Equal(2, await app.WaitForExitAsync(s_limit));
        Assert.Contains(expected, Assert.Single(app.Output.TrimEnd().Split('\n')), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_WrongOption_NamesKeyAndStatus1()
    {
        using RunProcess app = RunProcess.Start(folder.Executable("app/WebApp"), "--MegaPipe:Channels 0", folder.Path);
        Assert.Equal(1, await app.WaitForExitAsync(s_limit));
        Assert.Contains("MegaPipe:Channels", app.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("megapipe")]
    [InlineData("sockets")]
    [InlineData("sockets-inline")]
    public async Task Ports_BesideUrls_AllServe(string transport)
    {
        int http = AgentFolder.GetFreePorts(3), https = http + 1, h2c = http + 2;
        using RunProcess app = await StartAsync(
            $"--transport {transport} --urls http://127.0.0.1:{http} --https-port {https} --h2c-port {h2c}");
        using SocketsHttpHandler handler = new();
        // Nobody can know the certificate that the sample makes at start; it must at least name the host.
        handler.SslOptions.RemoteCertificateValidationCallback =
            (_, _, _, errors) => !errors.HasFlag(SslPolicyErrors.RemoteCertificateNameMismatch);
        using HttpClient client = new(handler);
        foreach ((string url, Version version) in new[]
        {
            ($"http://127.0.0.1:{http}/plaintext", HttpVersion.Version11),
            ($"https://127.0.0.1:{https}/plaintext", HttpVersion.Version20),
            ($"http://127.0.0.1:{h2c}/plaintext", HttpVersion.Version20),
        })
        {
            using HttpRequestMessage request = new(HttpMethod.Get, url)
            {
                Version = version,
                VersionPolicy = HttpVersionPolicy.RequestVersionExact,
            };
            using HttpResponseMessage response = await client.SendAsync(request);
            Assert.Equal("Hello, World!", await response.Content.ReadAsStringAsync());
            Assert.Equal(13, response.Content.Headers.ContentLength);
        }

        Assert.DoesNotContain("Overriding address", app.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("megapipe", 0)]
    [InlineData("megapipe", SeccompFilter.Eperm)]
    [InlineData("sockets", 0)]
    public async Task Routes_GoodAndBadInput_AnswerAsDocumented(string transport, int ioUringErrno)
    {
        int port = AgentFolder.GetFreePort();
        using RunProcess app = await StartAsync(
            $"--transport {transport} --urls http://127.0.0.1:{port}", ioUringErrno);
        using HttpClient client = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}") };

        byte[] bytes = await client.GetByteArrayAsync("/bytes/1000000");
        Assert.Equal(1_000_000, bytes.Length);
        Assert.All(Enumerable.Range(0, bytes.Length), i => Assert.True(bytes[i] == i % 251, $"byte {i}"));

        using ByteArrayContent content = new(bytes);
        using HttpResponseMessage upload = await client.PostAsync("/upload", content);
        using JsonDocument counted = JsonDocument.Parse(await upload.Content.ReadAsStringAsync());
        Assert.Equal(bytes.Length, counted.RootElement.GetProperty("bytes").GetInt64());
        Assert.Equal(
            Convert.ToHexStringLower(SHA256.HashData(bytes)), counted.RootElement.GetProperty("sha256").GetString());

        using HttpResponseMessage echo = await client.PostAsync("/echo", new ByteArrayContent(bytes));
        Assert.Equal(bytes, await echo.Content.ReadAsByteArrayAsync());

        using JsonDocument report = JsonDocument.Parse(await client.GetStringAsync("/transport"));
        Assert.Equal(transport, report.RootElement.GetProperty("requested").GetString());
        Assert.Equal(
            ioUringErrno != 0 ? "sockets" : transport, report.RootElement.GetProperty("transport").GetString());
        Assert.Equal(app.Id, report.RootElement.GetProperty("processId").GetInt32());
        Assert.True(report.RootElement.GetProperty("compiledMethods").GetInt64() > 0);
        string page = await client.GetStringAsync("/");
        Assert.Contains("<title>MegaPipe for Kestrel</title>", page, StringComparison.Ordinal);

        foreach (string path in new[]
        {
            "/plaintext", "/json", "/delay/1", "/block/1", "/spin/1", "/nested", "/bytes/0",
        })
        {
            Assert.Equal(HttpStatusCode.OK, (await client.GetAsync(path)).StatusCode);
        }

        foreach (string path in new[]
        {
            "/bytes/-1", "/bytes/x", "/bytes/17179869185", "/delay/600001", "/block/60001", "/spin/1.5", "/ws",
        })
        {
            using HttpResponseMessage bad = await client.GetAsync(path);
            Assert.Equal(HttpStatusCode.BadRequest, bad.StatusCode);
            Assert.Equal("text/plain", bad.Content.Headers.ContentType?.MediaType);
            Assert.NotEmpty(await bad.Content.ReadAsStringAsync());
        }
    }

    [Theory]
    [InlineData("megapipe", true)]
    [InlineData("sockets", false)]
    public async Task Home_ShowsTheLivePage_WhereThereIsOne(string transport, bool shown)
    {
        int port = AgentFolder.GetFreePort();
        using RunProcess app = await StartAsync($"--transport {transport} --urls http://127.0.0.1:{port}");
        using HttpClient client = new() { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        string home = await client.GetStringAsync("/");
        Assert.Equal(shown, home.Contains("<iframe src=\"/megapipe\"", StringComparison.Ordinal));
        using HttpResponseMessage page = await client.GetAsync("/megapipe");
        Assert.Equal(shown ? HttpStatusCode.OK : HttpStatusCode.NotFound, page.StatusCode);
    }

    [Fact]
    public async Task Start_FromAnotherFolder_DoesNotLogRequests()
    {
        int port = AgentFolder.GetFreePort();
        using RunProcess app = await StartAsync($"--transport sockets --urls http://127.0.0.1:{port}");
        using HttpClient client = new();
        await client.GetStringAsync($"http://127.0.0.1:{port}/plaintext");
        Assert.DoesNotContain("Request starting", app.Output, StringComparison.Ordinal);
        Assert.Contains("Now listening on: http://127.0.0.1", app.Output, StringComparison.Ordinal);
    }

    /// <summary>The sample; with an errno, where io_uring is refused with it.</summary>
    private async Task<RunProcess> StartAsync(string arguments, int ioUringErrno = 0)
    {
        RunProcess app = null!;
        void Start() => app = RunProcess.Start(folder.Executable("app/WebApp"), arguments, folder.Path, Ready);
        if (ioUringErrno != 0)
        {
            SeccompFilter.RunRefused(ioUringErrno, Start);
        }
        else
        {
            Start();
        }

        await app.WaitUntilReadyAsync(s_limit);
        return app;
    }
}
