// The load of a measurement: so many clients at a time, each with one request at a time.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace MegaPipe.Balance;

/// <param name="PerSecond">Requests answered.</param>
/// <param name="P50Ms">Of the time from connecting, or asking on a kept connection, to the answer.</param>
/// <param name="P99Ms">Likewise.</param>
/// <param name="MaxMs">Likewise.</param>
/// <param name="Failed">Connections that ended, or did not begin, without an answer.</param>
internal sealed record Load(double PerSecond, double P50Ms, double P99Ms, double MaxMs, int Failed);

internal sealed class Client(int port)
{
    private int _connections;

    private static readonly byte[] s_end = "done"u8.ToArray();

    /// <summary>A connection per request.</summary>
    public Task<Load> AskAnewAsync(string path, int clients, TimeSpan time) => LoadAsync(clients, time, async samples =>
    {
        long start = Stopwatch.GetTimestamp();
        using Socket socket = await ConnectAsync();
        await AskAsync(socket, path, close: true);
        samples.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
    });

    /// <summary>
    /// Kept connections, all made before the first request; what is asked before <paramref name="settle"/> is over does
    /// not count. Each pauses after its answer, so that a channel with light ones has room.
    /// </summary>
    public async Task<Load> AskKeptAsync(
        string path, int clients, TimeSpan time, TimeSpan settle = default, TimeSpan pause = default)
    {
        Socket[] sockets = new Socket[clients];
        for (int i = 0; i < clients; i++)
        {
            sockets[i] = await ConnectAsync();
        }

        int next = -1;
        AsyncLocal<Socket?> own = new();
        try
        {
            long begun = Stopwatch.GetTimestamp();
            Load load = await LoadAsync(clients, time, async samples =>
            {
                Socket socket = own.Value ??= sockets[Interlocked.Increment(ref next)];
                long start = Stopwatch.GetTimestamp();
                await AskAsync(socket, path, close: false);
                if (Stopwatch.GetElapsedTime(begun, start) >= settle)
                {
                    samples.Add(Stopwatch.GetElapsedTime(start).TotalMilliseconds);
                }

                if (pause > TimeSpan.Zero)
                {
                    await Task.Delay(pause);
                }
            }, () => own.Value = sockets[Interlocked.Increment(ref next)]);
            return load with { PerSecond = load.PerSecond * (time / (time - settle)) };
        }
        finally
        {
            Array.ForEach(sockets, socket => socket.Dispose());
        }
    }

    public async Task<string> GetAsync(string path)
    {
        using Socket socket = await ConnectAsync();
        return await AskAsync(socket, path, close: true);
    }

    /// <summary>The channels' counters.</summary>
    public async Task<Dictionary<string, long>[]> StatusAsync()
    {
        string answer = await GetAsync("/status");
        return
        [
            .. answer[(answer.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..]
                .Split('\n').Where(line => line.Contains('=', StringComparison.Ordinal))
                .Select(line => line.Trim().Split(' ').Select(pair => pair.Split('='))
                    .ToDictionary(pair => pair[0], pair => long.Parse(pair[1]))),
        ];
    }

    private static async Task<Load> LoadAsync(
        int clients, TimeSpan time, Func<List<double>, Task> ask, Action? begin = null)
    {
        long start = Stopwatch.GetTimestamp();
        int failed = 0;
        List<double>[] samples = await Task.WhenAll(Enumerable.Range(0, clients).Select(_ => Task.Run(async () =>
        {
            begin?.Invoke();
            List<double> own = [];
            while (Stopwatch.GetElapsedTime(start) < time)
            {
                try
                {
                    await ask(own);
                }
                catch (Exception error) when (error is SocketException or IOException)
                {
                    Interlocked.Increment(ref failed);
                }
            }

            return own;
        })));
        double seconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
        double[] all = [.. samples.SelectMany(own => own).Order()];
        return new Load(
            all.Length / seconds, At(all, 0.5), At(all, 0.99), At(all, 1), failed);
    }

    private static double At(double[] sorted, double share) =>
        sorted.Length == 0 ? 0 : sorted[(int)Math.Min(sorted.Length - 1, share * sorted.Length)];

    private async Task<Socket> ConnectAsync()
    {
        Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            if (Interlocked.Increment(ref _connections) % 2 == 0)
            {
                // Linux gives even ports to sockets that connect and odd ones to those that bind; both are wanted,
                // because the lowest bit of the port is in the flow group's number.
                socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            }

            await socket.ConnectAsync(new IPEndPoint(IPAddress.Loopback, port));
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static async Task<string> AskAsync(Socket socket, string path, bool close)
    {
        await socket.SendAsync(Encoding.ASCII.GetBytes(
            $"GET {path} HTTP/1.1\r\nHost: localhost\r\n{(close ? "Connection: close\r\n" : "")}\r\n"));
        byte[] buffer = new byte[16 * 1024];
        int filled = 0;
        while (true)
        {
            int bytes = await socket.ReceiveAsync(buffer.AsMemory(filled));
            filled += bytes;
            if (bytes == 0 ? filled > 0 : !close && Ends(buffer.AsSpan(0, filled)))
            {
                return Encoding.ASCII.GetString(buffer, 0, filled);
            }

            if (bytes == 0)
            {
                throw new IOException("The connection ended without an answer.");
            }
        }
    }

    /// <summary>A chunked answer's last chunk is behind it.</summary>
    private static bool Ends(ReadOnlySpan<byte> received) =>
        received.IndexOf(s_end) >= 0 && received.EndsWith("0\r\n\r\n"u8);
}
