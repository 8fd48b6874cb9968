// Clients that open a connection for each request and know what became of every one.
using System.Collections.Concurrent;
using System.Net;
using System.Net.Security;
using System.Net.Sockets;
using System.Text;

namespace MegaPipe.Kestrel.Tests.Support;

/// <summary>
/// Threads that block: how soon a client asks does not depend on the pool that serves it, too. Each runs until it is
/// refused, lost or told to stop. Lost: it was connected, and got no whole answer.
/// </summary>
internal sealed class Crowd
{
    private const string Request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    private const int WarmAnswers = 3;

    private readonly EndPoint _target;
    private readonly bool _tls;
    private readonly CountdownEvent _warm;
    private readonly ConcurrentDictionary<string, int> _answers = new();
    private Task<string?>[] _clients = [];
    private volatile bool _stopping;

    private Crowd(EndPoint target, int clients, bool tls)
    {
        _target = target;
        _tls = tls;
        _warm = new CountdownEvent(clients);
    }

    public static Crowd Start(EndPoint target, int clients, bool tls = false)
    {
        Crowd crowd = new(target, clients, tls);
        crowd._clients =
        [
            .. Enumerable.Range(0, clients).Select(_ => Task.Factory.StartNew(
                crowd.Run, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)),
        ];
        return crowd;
    }

    /// <summary>Until every client has had some answers.</summary>
    public Task WarmAsync() => Task.Run(() => Assert.True(_warm.Wait(InTimeExtensions.Limit)));

    /// <summary>Until some client has had an answer with this text.</summary>
    public Task AnsweredAsync(string text) => Eventually.True(
        () => _answers.Keys.Any(answer => answer.Contains(text, StringComparison.Ordinal)),
        () => string.Join(", ", _answers), $"an answer “{text}”");

    /// <summary>Nobody was lost, and all were refused in the end.</summary>
    public async Task AssertAllRefusedAsync()
    {
        Assert.All(await Task.WhenAll(_clients).InTime(), outcome => Assert.Equal("refused", outcome));
        _warm.Dispose();
    }

    /// <summary>Tells the clients to stop. Nobody was lost, and nobody refused.</summary>
    public async Task AssertAllAnsweredAsync()
    {
        _stopping = true;
        Assert.All(await Task.WhenAll(_clients).InTime(), Assert.Null);
        _warm.Dispose();
    }

    /// <summary>null: told to stop; otherwise how it ended.</summary>
    private string? Run()
    {
        for (int answered = 0; !_stopping; answered++)
        {
            using Socket socket = Client.Create(_target);
            try
            {
                socket.Connect(_target);
            }
            catch (SocketException refused) when (
                refused.SocketErrorCode is SocketError.ConnectionRefused or SocketError.AddressNotAvailable)
            {
                return "refused";
            }

            try
            {
                string answer = Ask(socket);
                if (!answer.StartsWith("HTTP/1.1 200", StringComparison.Ordinal))
                {
                    return $"After {answered} answers: “{answer}”";
                }

                _answers.AddOrUpdate(answer[(answer.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..].Trim(),
                    1, (_, count) => count + 1);
            }
            catch (IOException error)
            {
                return $"After {answered} answers: {error.Message}";
            }

            if (answered == WarmAnswers - 1)
            {
                _warm.Signal();
            }
        }

        return null;
    }

    private string Ask(Socket socket)
    {
        using NetworkStream plain = new(socket);
        using SslStream? secure = _tls ? new SslStream(plain, false, (_, _, _, _) => true) : null;
        secure?.AuthenticateAsClient("localhost");
        Stream stream = secure ?? (Stream)plain;
        stream.Write(Encoding.ASCII.GetBytes(Request));
        using StreamReader reader = new(stream, Encoding.ASCII);
        return reader.ReadToEnd();
    }
}
