// What the policy is told of a channel, and by which numbers it judges.
namespace MegaPipe.Kestrel.Internal.Balancing;

/// <summary>A channel at one look. Fractions are of what counts as full: 1 is full, and more is possible.</summary>
/// <param name="Turns">Turns that its carriers have begun so far.</param>
/// <param name="Asleep">It waits for the kernel: it has nothing to do.</param>
/// <param name="Carried">A carrier goes on with it, or could take it over.</param>
/// <param name="Work">The part of the time since the last look in which it did not sleep.</param>
/// <param name="QueueDelay">The longest queue delay of a turn since the last look, of what a turn may take.</param>
/// <param name="Events">The mean number of events of a dispatch since the last look, of what one can bring.</param>
/// <param name="Queued">Connections that wait to be accepted, of the backlog.</param>
/// <param name="Connections">Connections that live on it.</param>
internal readonly record struct ChannelLook(
    long Turns, bool Asleep, bool Carried, double Work, double QueueDelay, double Events, double Queued,
    int Connections)
{
    /// <summary>How full the fullest of its queues is.</summary>
    public double Pressure => Math.Max(QueueDelay, Math.Max(Events, Queued));
}

/// <summary>The policy's constants. docs/BALANCING.md has the measurements and simulations behind each.</summary>
internal sealed record BalancingSettings
{
    public static BalancingSettings Default { get; } = new();

    /// <summary>A channel that is fuller than this may be busy (Affinity-Accept's high watermark).</summary>
    public double HighWatermark { get; init; } = 0.75;

    /// <summary>One whose average is below this is not busy (Affinity-Accept's low watermark).</summary>
    public double LowWatermark { get; init; } = 0.10;

    /// <summary>Busy is also only who is so many times as full as the others are on average.</summary>
    public double Apart { get; init; } = 1.5;

    /// <summary>And no longer busy is who comes this close to them.</summary>
    public double Together { get; init; } = 1.25;

    /// <summary>Looks of which the moving average mostly consists.</summary>
    public int AverageLooks { get; init; } = 4;

    /// <summary>
    /// Looks after which a busy channel gives connections to those that have more of them, too: its own are heavier. A
    /// burst of new connections is over by then.
    /// </summary>
    public int LongBusyLooks { get; init; } = 30;

    /// <summary>Looks without progress after which a channel counts as hung.</summary>
    public int HungLooks { get; init; } = 10;

    /// <summary>Looks with progress after which it is back.</summary>
    public int BackLooks { get; init; } = 5;

    /// <summary>Looks of which the average of a channel's work mostly consists, by which groups migrate.</summary>
    public int WorkLooks { get; init; } = 30;

    /// <summary>A channel that works less gives no group away: nobody waits long there.</summary>
    public double WorkToMigrate { get; init; } = 0.5;

    /// <summary>So many times the mean work a channel does before it gives a group away.</summary>
    public double WorkApart { get; init; } = 1.1;

    /// <summary>
    /// A channel that works takes one connection from a busy one for each so many that it accepts; 0: none at all.
    /// </summary>
    public int LocalPerStolen { get; init; } = 5;

    /// <summary>Whether groups migrate.</summary>
    public bool Migrates { get; init; } = true;

    /// <summary>As many groups as a channel should have, so that one of them is a small part of its load.</summary>
    public int GroupsPerChannel { get; init; } = 32;
}
