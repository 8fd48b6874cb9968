// Hosts whose handlers block, spin and wait, and a client that reads answers one by one.
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Scheduling;

internal static class SchedulingHost
{
    public const string Carrier = "MegaPipe carrier";

    public static bool OnCarrier =>
        Thread.CurrentThread.Name?.StartsWith(Carrier, StringComparison.Ordinal) == true;

    public static Task<HostHarness> StartAsync(
        RequestDelegate handler, Action<MegaPipeTransportOptions>? configure = null,
        TransportKind kind = TransportKind.MegaPipe, Action<HostSetup>? setup = null) =>
        HostHarness.StartAsync(kind, handler, host =>
        {
            host.QuietLogs = true;
            host.Services = services => services.Configure<MegaPipeTransportOptions>(
                options => configure?.Invoke(options));
            setup?.Invoke(host);
        });

    /// <summary>Answers with a length, as <see cref="HttpPeer"/> reads.</summary>
    public static Task Answer(this HttpContext context, string text)
    {
        context.Response.ContentLength = Encoding.ASCII.GetByteCount(text);
        return context.Response.WriteAsync(text);
    }

    public static async Task<HttpPeer> ConnectPeerAsync(this HostHarness host) => new(await host.ConnectAsync());
}

/// <summary>One client connection; requests may be pipelined.</summary>
internal sealed class HttpPeer(Socket socket)
{
    private readonly byte[] _bytes = new byte[64 * 1024];
    private int _start;
    private int _end;

    public static string Get(string path) => $"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n";

    public Task SendAsync(string requests) => socket.SendAllAsync(requests);

    public async Task<string> GetAsync(string path)
    {
        await SendAsync(Get(path));
        (int status, string body) = await ReceiveAsync();
        Assert.Equal(200, status);
        return body;
    }

    /// <summary>The next answer: its status and its body.</summary>
    public async Task<(int Status, string Body)> ReceiveAsync()
    {
        int headerEnd;
        while ((headerEnd = Data.IndexOf("\r\n\r\n"u8)) < 0)
        {
            await FillAsync();
        }

        string[] header = Encoding.ASCII.GetString(Data[..headerEnd]).Split("\r\n");
        _start += headerEnd + 4;
        string length = header.Single(line => line.StartsWith("Content-Length:", StringComparison.OrdinalIgnoreCase));
        int bytes = int.Parse(length.AsSpan("Content-Length:".Length).Trim(), CultureInfo.InvariantCulture);
        while (_end - _start < bytes)
        {
            await FillAsync();
        }

        string body = Encoding.ASCII.GetString(Data[..bytes]);
        _start += bytes;
        return (int.Parse(header[0].AsSpan("HTTP/1.1 ".Length, 3), CultureInfo.InvariantCulture), body);
    }

    private ReadOnlySpan<byte> Data => _bytes.AsSpan(_start, _end - _start);

    private async Task FillAsync()
    {
        if (_start > 0)
        {
            Data.CopyTo(_bytes);
            _end -= _start;
            _start = 0;
        }

        int received = await socket.ReceiveAsync(_bytes.AsMemory(_end)).InTime("an answer");
        Assert.True(received > 0, "FIN instead of an answer");
        _end += received;
    }
}
