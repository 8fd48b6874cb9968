// Happy Eyeballs (RFC 8305, section 5): a name's addresses are tried in turn, the next one also when the one before
// has not answered for a while; the first connection wins.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Connections;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Internal.Connecting;

internal static class AddressRace
{
    /// <summary>The RFC's recommended Connection Attempt Delay.</summary>
    private static readonly TimeSpan s_delay = TimeSpan.FromMilliseconds(250);

    /// <summary>
    /// The addresses in the order in which they are tried: as the resolver sorted them, but the families take turns,
    /// so a family that leads nowhere costs one delay and not one for each of its addresses.
    /// </summary>
    public static IPAddress[] Order(IReadOnlyList<IPAddress> addresses)
    {
        if (addresses.Count < 3)
        {
            return [.. addresses];
        }

        AddressFamily first = addresses[0].AddressFamily;
        Queue<IPAddress> preferred = new(addresses.Where(address => address.AddressFamily == first));
        Queue<IPAddress> others = new(addresses.Where(address => address.AddressFamily != first));
        List<IPAddress> ordered = [];
        while (preferred.Count + others.Count > 0)
        {
            if (preferred.TryDequeue(out IPAddress? next))
            {
                ordered.Add(next);
            }

            if (others.TryDequeue(out next))
            {
                ordered.Add(next);
            }
        }

        return [.. ordered];
    }

    /// <summary>
    /// The first of <paramref name="addresses"/> that connects; otherwise the first one's error. Those that come too
    /// late are canceled, and closed where they come all the same.
    /// </summary>
    public static async ValueTask<MegaPipeConnection> ConnectAsync(
        IPAddress[] addresses, int port, Func<IPEndPoint, CancellationToken, ValueTask<MegaPipeConnection>> connect,
        CancellationToken cancellationToken)
    {
        using CancellationTokenSource end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        List<Task<MegaPipeConnection>> attempts = [];
        Exception? error = null;
        MegaPipeConnection? winner = null;
        int next = 0;
        while (winner is null && (next < addresses.Length || attempts.Count > 0))
        {
            Task? delay = null;
            if (next < addresses.Length)
            {
                attempts.Add(connect(new IPEndPoint(addresses[next++], port), end.Token).AsTask());
                delay = next < addresses.Length ? Task.Delay(s_delay, end.Token) : null;
            }

            Task first = await Task.WhenAny(delay is null ? attempts : [.. attempts, delay]).ConfigureAwait(false);
            if (first is not Task<MegaPipeConnection> attempt)
            {
                continue;
            }

            attempts.Remove(attempt);
            if (attempt.IsCompletedSuccessfully)
            {
                winner = await attempt.ConfigureAwait(false);
            }
            else
            {
                error ??= attempt.Exception?.InnerException ?? new OperationCanceledException(cancellationToken);
                if (cancellationToken.IsCancellationRequested)
                {
                    break;
                }
            }
        }

        await end.CancelAsync().ConfigureAwait(false);
        foreach (Task<MegaPipeConnection> late in attempts)
        {
            _ = CloseAsync(late);
        }

        if (winner is not null)
        {
            return winner;
        }

        cancellationToken.ThrowIfCancellationRequested();
        System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(
            error ?? new SocketException((int)SocketError.HostNotFound));
        return null!;
    }

    private static async Task CloseAsync(Task<MegaPipeConnection> late)
    {
        await ((Task)late).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (late.IsCompletedSuccessfully)
        {
            MegaPipeConnection connection = await late.ConfigureAwait(false);
            connection.Abort(new ConnectionAbortedException("Another address answered first."));
            await connection.DisposeAsync().ConfigureAwait(false);
        }
    }
}
