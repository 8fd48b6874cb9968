// Who serves which flow group: a function of its own memory and of what it is told. No clock, no I/O, no threads, no
// randomness, so the transport and the simulator (crank/balance) run the same.
using System.Numerics;

namespace MegaPipe.Kestrel.Internal.Balancing;

/// <summary>
/// Flow groups and their owners. A look judges the channels, and takes the groups of a hung one at once; a migration
/// moves single groups from channels with more work to those with less. After both each group has one owner, which is
/// live if any is.
/// </summary>
internal sealed class BalancingPolicy
{
    private const int LeastGroups = 64;
    private const int MostGroups = 4_096;

    private const int NotLent = -1;

    private readonly BalancingSettings _settings;
    private readonly ushort[] _owners; // by group
    private readonly int[] _lentBy; // by group: the hung channel that gets it back
    private readonly int[] _groups; // by channel: how many it owns
    private readonly Judged[] _channels;
    private readonly long[] _given; // by victim and taker, at the last migration
    private int _nextGroup;
    private int _nextTaker;

    public BalancingPolicy(int channels, BalancingSettings settings)
        : this(channels, GroupsFor(channels, settings.GroupsPerChannel), settings)
    {
    }

    internal BalancingPolicy(int channels, int groups, BalancingSettings settings)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(channels, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(channels, groups);
        _settings = settings;
        _channels = new Judged[channels];
        _groups = new int[channels];
        _given = new long[channels * channels];
        _owners = new ushort[groups];
        _lentBy = new int[groups];
        Array.Fill(_lentBy, NotLent);
        for (int group = 0; group < groups; group++)
        {
            _owners[group] = (ushort)(group % channels);
            _groups[group % channels]++;
        }
    }

    /// <summary>The channel that serves each group.</summary>
    public ReadOnlySpan<ushort> Owners => _owners;

    /// <summary>Groups that went from one channel to another because of their work.</summary>
    public long Migrations { get; private set; }

    /// <summary>A power of two, so that some bits of a hash name the group.</summary>
    public static int GroupsFor(int channels, int perChannel) => (int)BitOperations.RoundUpToPowerOf2(
        (uint)Math.Clamp(channels * perChannel, LeastGroups, MostGroups));

    /// <summary>It is much fuller than the others: its new connections are better off elsewhere.</summary>
    public bool IsBusy(int channel) => _channels[channel].Busy;

    /// <summary>It is busy for more than a burst: it is not the number of its connections that makes it so.</summary>
    public bool IsBusyForLong(int channel) => _channels[channel].BusyLooks >= _settings.LongBusyLooks;

    /// <summary>It makes no progress: it gets nothing new, and others drain its queue.</summary>
    public bool IsHung(int channel) => _channels[channel].Hung;

    public int GroupsOf(int channel) => _groups[channel];

    /// <summary>Groups that came to it because of their owner's work.</summary>
    public long MigratedTo(int channel) => _channels[channel].Migrated;

    /// <summary>Judges the channels. true: a channel hung or came back, and the owners have changed.</summary>
    public bool Look(ReadOnlySpan<ChannelLook> looks)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(looks.Length, _channels.Length);
        double sum = 0;
        int live = 0;
        for (int i = 0; i < looks.Length; i++)
        {
            ref Judged channel = ref _channels[i];
            JudgeProgress(ref channel, in looks[i]);
            channel.Average += (looks[i].Pressure - channel.Average) / _settings.AverageLooks;
            channel.Work += (looks[i].Work - channel.Work) / _settings.WorkLooks;
            if (!channel.Hung)
            {
                sum += channel.Average;
                live++;
            }
        }

        for (int i = 0; i < looks.Length; i++)
        {
            ref Judged channel = ref _channels[i];
            double others = live > 1 ? (sum - channel.Average) / (live - 1) : double.PositiveInfinity;
            channel.Busy = !channel.Hung && IsBusyNow(in channel, looks[i].Pressure, others);
            channel.BusyLooks = channel.Busy ? channel.BusyLooks + 1 : 0;
        }

        return MoveForHung();
    }

    /// <summary>
    /// Each channel that works less than the mean takes one group, from the one that gave it most connections since the
    /// last migration and works more, and where none gave any, from the one that works most.
    /// </summary>
    /// <remarks>
    /// The averages of the work follow what was moved after a second only. So they are corrected at once, by what a
    /// group of the channel has cost on average, and no more is moved than that allows.
    /// </remarks>
    /// <param name="given">
    /// Connections that channel <c>v</c> has given to channel <c>t</c> so far, at <c>v * channels + t</c>.
    /// </param>
    /// <returns>true: the owners have changed.</returns>
    public bool Migrate(ReadOnlySpan<long> given)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(given.Length, _given.Length);
        if (!_settings.Migrates)
        {
            return false;
        }

        double mean = MeanWork();
        bool moved = false;
        for (int i = 0; i < _channels.Length; i++)
        {
            int taker = (_nextTaker + i) % _channels.Length;
            if (_channels[taker] is { Busy: false, Hung: false } && _channels[taker].Work < mean &&
                Victim(taker, given, mean) is >= 0 and { } victim)
            {
                double moves = WorkOfGroup(victim);
                _channels[victim].Work -= moves;
                _channels[taker].Work += moves;
                Give(NextGroupOf(victim), taker);
                Migrations++;
                _channels[taker].Migrated++;
                moved = true;
            }
        }

        _nextTaker = (_nextTaker + 1) % _channels.Length; // where not all can take, another is first each time
        given.CopyTo(_given);
        return moved;
    }

    /// <summary>
    /// The channel that is to have a connection with <paramref name="part"/> of the work of <paramref name="victim"/>,
    /// or -1: it stays. As with groups the averages are corrected at once.
    /// </summary>
    public int MoveConnection(int victim, double part)
    {
        ref Judged from = ref _channels[victim];
        if (from.Hung || from.Work < Math.Max(_settings.WorkToMigrate, MeanWork() * _settings.WorkApart))
        {
            return -1;
        }

        int taker = -1;
        for (int i = 0; i < _channels.Length; i++)
        {
            if (i != victim && _channels[i] is { Busy: false, Hung: false } &&
                (taker < 0 || _channels[i].Work < _channels[taker].Work))
            {
                taker = i;
            }
        }

        double moves = from.Work * part;
        if (taker < 0 || (_channels[taker].Work + moves) * _settings.WorkApart >= from.Work)
        {
            return -1; // nothing to gain: the two would only change places
        }

        from.Work -= moves;
        _channels[taker].Work += moves;
        return taker;
    }

    /// <summary>
    /// Looks through who was seen at work on <paramref name="victim"/>, the newest first, for a connection that is to
    /// move: where to, or -1. Who has gone, or moves, is forgotten.
    /// </summary>
    /// <param name="victim">The channel.</param>
    /// <param name="working">Who was seen at work there.</param>
    /// <param name="connections">Connections that live there.</param>
    /// <param name="ask">What a connection may do.</param>
    /// <param name="mover">The connection that is to move, or null.</param>
    public int MoveConnection<T>(
        int victim, WorkSamples<T> working, int connections, Func<T, Mobility> ask, out T? mover)
        where T : class
    {
        for (int i = 0; i < WorkSamples<T>.Most; i++)
        {
            mover = working[i];
            if (mover is null)
            {
                continue;
            }

            Mobility mobility = ask(mover);
            int taker = mobility == Mobility.Moves ? MoveConnection(victim, working.Part(mover, connections)) : -1;
            if (taker >= 0 || mobility == Mobility.Gone)
            {
                working.Remove(mover);
            }

            if (taker >= 0)
            {
                return taker;
            }
        }

        mover = null;
        return -1;
    }

    private void JudgeProgress(ref Judged channel, in ChannelLook look)
    {
        bool moves = look.Carried && (look.Asleep || look.Turns != channel.Turns);
        channel.Turns = look.Turns;
        channel.Still = moves ? 0 : channel.Still + 1;
        channel.Moving = moves ? channel.Moving + 1 : 0;
        if (!look.Carried || channel.Still >= _settings.HungLooks)
        {
            channel.Hung = true;
        }
        else if (channel.Moving >= _settings.BackLooks)
        {
            channel.Hung = false;
        }
    }

    private bool IsBusyNow(in Judged channel, double pressure, double others) => channel.Busy
        ? channel.Average >= _settings.LowWatermark && channel.Average >= others * _settings.Together
        : pressure >= _settings.HighWatermark && channel.Average >= _settings.LowWatermark &&
            channel.Average >= others * _settings.Apart;

    /// <summary>
    /// Lends the groups of hung channels to live ones, and gives them back. Where all are hung, nothing changes.
    /// </summary>
    private bool MoveForHung()
    {
        if (!Array.Exists(_channels, channel => !channel.Hung))
        {
            return false;
        }

        bool moved = false;
        for (int group = 0; group < _owners.Length; group++)
        {
            if (_lentBy[group] is not NotLent and int lender && !_channels[lender].Hung)
            {
                Give(group, lender);
                moved = true;
            }

            int owner = _owners[group];
            if (_channels[owner].Hung)
            {
                int home = _lentBy[group] == NotLent ? owner : _lentBy[group];
                Give(group, LeastOwner());
                _lentBy[group] = home;
                moved = true;
            }
        }

        return moved;
    }

    private void Give(int group, int channel)
    {
        _groups[_owners[group]]--;
        _groups[channel]++;
        _owners[group] = (ushort)channel;
        _lentBy[group] = NotLent;
    }

    /// <summary>The live channel with the fewest groups.</summary>
    private int LeastOwner()
    {
        int least = -1;
        for (int i = 0; i < _channels.Length; i++)
        {
            if (!_channels[i].Hung && (least < 0 || _groups[i] < _groups[least]))
            {
                least = i;
            }
        }

        return least;
    }

    private double MeanWork()
    {
        double sum = 0;
        int live = 0;
        foreach (ref readonly Judged channel in _channels.AsSpan())
        {
            sum += channel.Hung ? 0 : channel.Work;
            live += channel.Hung ? 0 : 1;
        }

        return live > 0 ? sum / live : 0;
    }

    private double WorkOfGroup(int channel) => _channels[channel].Work / _groups[channel];

    private int Victim(int taker, ReadOnlySpan<long> given, double mean)
    {
        double least = Math.Max(_settings.WorkToMigrate, mean * _settings.WorkApart);
        int victim = -1;
        (long Given, double Work) most = default;
        for (int i = 0; i < _channels.Length; i++)
        {
            double work = _channels[i].Work;
            if (_channels[i].Hung || _groups[i] < 2 || work < least ||
                (_channels[taker].Work + WorkOfGroup(i)) * _settings.WorkApart >= work)
            {
                continue; // nothing to gain: the two would only change places
            }

            int pair = (i * _channels.Length) + taker;
            (long Given, double Work) here = (given[pair] - _given[pair], work);
            if (victim < 0 || here.CompareTo(most) > 0)
            {
                victim = i;
                most = here;
            }
        }

        return victim;
    }

    /// <summary>In turn, because nobody knows which of them are the heavy ones.</summary>
    private int NextGroupOf(int channel)
    {
        do
        {
            _nextGroup = (_nextGroup + 1) % _owners.Length;
        }
        while (_owners[_nextGroup] != channel); // ends: only who owns a group is asked for one

        return _nextGroup;
    }

    private struct Judged
    {
        public double Average; // of the pressure
        public double Work; // on average, over a longer time
        public long Turns;
        public long Migrated;
        public int BusyLooks;
        public int Still;
        public int Moving;
        public bool Busy;
        public bool Hung;
    }
}
