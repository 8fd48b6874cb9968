// Connections that live long: who is seen at work on a channel with too much of it, and where it goes.
using MegaPipe.Kestrel.Internal.Balancing;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Listening;

internal sealed partial class Balancer
{
    /// <summary>
    /// A connection that has moved stays for so long, or two channels with a single large one each would exchange them
    /// at every look.
    /// </summary>
    private const long StaysMs = 1_000;

    private void SampleConnections()
    {
        foreach (Place place in _places)
        {
            place.Working.Add(place.Channel.RunningWork as MegaPipeConnection);
        }
    }

    private void ForgetConnections()
    {
        foreach (Place place in _places)
        {
            place.Working.Clear();
        }
    }

    /// <summary>One at a look from each channel that has too much: the next look knows what that has changed.</summary>
    private void MoveConnections()
    {
        for (int i = 0; i < _places.Length; i++)
        {
            MoveConnection(i);
        }
    }

    private void MoveConnection(int from)
    {
        Place place = _places[from];
        int to = _policy.MoveConnection(
            from, place.Working, Volatile.Read(ref place.Channel.ConnectionCount), place.MobilityOf,
            out MegaPipeConnection? connection);
        if (to >= 0)
        {
            TransportLog.ConnectionMoves(_logger, connection!, from, to);
            connection!.AskToMove(_places[to].Channel);
        }
    }

    private static Mobility MobilityOf(MegaPipeConnection connection, TransportChannel channel) =>
        connection.EndReason is not null || !ReferenceEquals(connection.Channel, channel) ? Mobility.Gone
        : Environment.TickCount64 - connection.MovedAtMs < StaysMs ? Mobility.Stays
        : Mobility.Moves;

    /// <summary>For the tests of what a move may meet.</summary>
    private void MoveAll()
    {
        for (int i = 0; i < _places.Length; i++)
        {
            TransportChannel next = _places[(i + 1) % _places.Length].Channel;
            _places[i].Channel.Post(channel => channel.ForEachOwner(
                owner => (owner as MegaPipeConnection)?.AskToMove(next)));
        }
    }
}
