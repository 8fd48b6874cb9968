// The new process's side of a takeover: the listeners that it gets.
using System.Net;
using System.Net.Sockets;
using System.Text;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>A process that serves already and gives its listening sockets away.</summary>
internal sealed class Predecessor : IDisposable
{
    /// <summary>For what takes no time; a predecessor that hangs is not waited for.</summary>
    private const int AnswersWithinMs = 5_000;

    private readonly Socket _connection;
    private readonly List<PassedListener> _listeners = [];
    private readonly List<string> _taken = [];

    private Predecessor(Socket connection) => _connection = connection;

    /// <summary>Asks who listens at the place. null: nobody does, or nobody whom this process may trust.</summary>
    public static Predecessor? Find(string place)
    {
        Socket connection = TakeoverMessages.CreateSocket();
        connection.ReceiveTimeout = AnswersWithinMs;
        Predecessor predecessor = new(connection);
        try
        {
            connection.Connect(TakeoverMessages.EndPointOf(place));
            if (DescriptorPassing.IsPeerTrusted(connection) && predecessor.TryReceive())
            {
                return predecessor;
            }
        }
        catch (SocketException)
        {
            // The place is empty, or what is there was left behind by a process that was killed.
        }

        predecessor.Dispose();
        return null;
    }

    /// <summary>The sockets of an endpoint that this process is to bind; null: the predecessor has none.</summary>
    public ListenSocket? Take(EndPoint endPoint)
    {
        string? address = TakeoverMessages.AddressOf(endPoint);
        int at = _listeners.FindIndex(listener => listener.Address == address);
        if (at < 0)
        {
            return null;
        }

        PassedListener listener = _listeners[at];
        _listeners.RemoveAt(at);
        _taken.Add(listener.Address);
        Socket[] sockets = [.. listener.Fds.Select(fd => new Socket(new SafeSocketHandle(fd, ownsHandle: true)))];
        return new ListenSocket(sockets[0], listener.Owner) { More = sockets[1..], IsTaken = true };
    }

    /// <summary>This process serves what it has taken. false: the predecessor has gone meanwhile.</summary>
    public async Task<bool> TellReadyAsync()
    {
        CloseRest();
        if (!TakeoverMessages.TrySend(_connection, string.Join('\n', [TakeoverMessages.Ready, .. _taken])))
        {
            return false;
        }

        try
        {
            byte[] answer = new byte[DescriptorPassing.MaxBytes];
            int bytes = await _connection.ReceiveAsync(answer).WaitAsync(TimeSpan.FromMilliseconds(AnswersWithinMs))
                .ConfigureAwait(false);
            return Encoding.UTF8.GetString(answer, 0, bytes) == TakeoverMessages.Yours;
        }
        catch (Exception error) when (error is SocketException or TimeoutException)
        {
            return false;
        }
    }

    public void Dispose()
    {
        CloseRest();
        _connection.Dispose();
    }

    private bool TryReceive()
    {
        while (true) // the kernel bounds what one process can send to another
        {
            List<int> fds = [];
            string[]? words = TakeoverMessages.Receive(_connection, fds);
            if (words is [TakeoverMessages.All])
            {
                return true;
            }

            if (words is null || TakeoverMessages.AsListener(words) is not var (owner, address))
            {
                fds.ForEach(DescriptorPassing.Close);
                return false;
            }

            PassedListener? known = _listeners.Find(listener => listener.Address == address);
            if (known is null)
            {
                _listeners.Add(new PassedListener(address, owner, fds));
            }
            else
            {
                known.Fds.AddRange(fds);
            }
        }
    }

    private void CloseRest()
    {
        _listeners.ForEach(listener => listener.Close());
        _listeners.Clear();
    }
}
