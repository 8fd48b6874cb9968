// Has connections move from channel to channel as often as they are idle, from a thread that knows nothing of them.
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Listening;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Support;

internal sealed class ConnectionMover : IDisposable
{
    private readonly Lock _sync = new();
    private readonly List<(MegaPipeConnection Connection, IReadOnlyList<TransportChannel> Channels)> _all = [];
    private readonly Thread _thread;
    private readonly bool _sleeps;
    private volatile bool _stopped;

    /// <param name="sleeps">A millisecond between two rounds; false: none, for who wants to meet a race.</param>
    public ConnectionMover(bool sleeps = true)
    {
        _sleeps = sleeps;
        _thread = new Thread(Run) { IsBackground = true, Name = "mover" };
        _thread.Start();
    }

    public void Add(MegaPipeConnection connection, IConnectionListener listener)
    {
        lock (_sync)
        {
            _all.RemoveAll(entry => entry.Connection.EndReason is not null);
            _all.Add((connection, ((MegaPipeConnectionListener)listener).Channels));
        }
    }

    public void Dispose()
    {
        _stopped = true;
        _thread.Join();
    }

    private void Run()
    {
        for (int round = 1; !_stopped; round++)
        {
            lock (_sync)
            {
                foreach ((MegaPipeConnection connection, IReadOnlyList<TransportChannel> channels) in _all)
                {
                    connection.AskToMove(channels[(connection.Channel.Index + 1 + (round % 2)) % channels.Count]);
                }
            }

            Thread.Sleep(_sleeps ? 1 : 0);
        }
    }
}
