// Where a connection that was just accepted is to live: usually where it was accepted.
namespace MegaPipe.Kestrel.Internal.Balancing;

/// <summary>What a carrier that has accepted a connection sees of all channels, at once and without a lock.</summary>
internal interface IAcceptBoard
{
    int Channels { get; }

    bool IsBusy(int channel);

    /// <summary>And that for longer than a burst of connections lasts.</summary>
    bool IsBusyForLong(int channel);

    bool IsHung(int channel);

    /// <summary>It waits for the kernel: its own queue is empty.</summary>
    bool IsAsleep(int channel);

    int Connections(int channel);

    /// <summary>Connections that it accepted from its own queue since the last migration.</summary>
    long Local(int channel);

    /// <summary>Connections that it took from other channels since the last migration.</summary>
    long Stolen(int channel);
}

internal static class StealRule
{
    /// <summary>
    /// Channels that differ by fewer connections, or by less than a sixteenth, are not evened out: a transfer costs
    /// more than that would gain.
    /// </summary>
    private const int EvenConnections = 8;

    private const int EvenShare = 16;

    /// <summary>
    /// The channel that is to have a connection that <paramref name="self"/> accepted, or -1: it stays.
    /// </summary>
    /// <remarks>
    /// A busy channel gives to those that are not, in turn: to one that sleeps, and to one that works once for each
    /// <paramref name="localPerStolen"/> connections of its own (Affinity-Accept). One that has clearly more of them
    /// gets none of a channel that a burst made busy: the burst ends, and connections that are kept would lie unevenly
    /// for as long as they live. A channel that is not busy only compares itself with one other, in turn, and gives
    /// where it has clearly more connections.
    /// </remarks>
    /// <param name="board">What there is to see.</param>
    /// <param name="self">The channel that has accepted.</param>
    /// <param name="next">Whose turn it is; kept by the caller from call to call.</param>
    /// <param name="localPerStolen">0: nothing is ever given.</param>
    public static int Choose<TBoard>(in TBoard board, int self, ref int next, int localPerStolen)
        where TBoard : struct, IAcceptBoard
    {
        int channels = board.Channels;
        if (localPerStolen == 0 || channels < 2)
        {
            return -1;
        }

        bool busy = board.IsBusy(self);
        bool burst = busy && !board.IsBusyForLong(self);
        for (int tries = busy ? channels : 2; tries > 0; tries--)
        {
            next = (next + 1) % channels;
            if (next == self || board.IsHung(next) || board.IsBusy(next) ||
                (burst && IsCrowded(board.Connections(next), board.Connections(self))))
            {
                continue;
            }

            if (busy
                ? board.IsAsleep(next) || board.Stolen(next) * localPerStolen < board.Local(next)
                : IsCrowded(board.Connections(self), board.Connections(next)))
            {
                return next;
            }

            if (!busy)
            {
                break;
            }
        }

        return -1;
    }

    private static bool IsCrowded(int own, int other) => own > other + (other / EvenShare) + EvenConnections;
}
