// Balancing of one host's channels: looks at them for the policy, and has the listeners do what it decides.
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using MegaPipe.Kestrel.Internal.Balancing;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Steering;
using MegaPipe.Native;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>An endpoint with a partition on each channel. Called by one thread at a time.</summary>
internal interface IBalancedListener
{
    /// <summary>Connections that wait to be accepted on a channel.</summary>
    int QueueDepth(int channel);

    /// <summary>Has a channel accept from the queue of one that is hung, besides its own.</summary>
    void Drain(int hung, int helper);

    /// <summary>The channel is back, and drains its queue itself.</summary>
    void EndDrains(int back);
}

/// <summary>
/// The watcher's thread looks; carriers ask where an accepted connection is to live. What both share are counters that
/// one of them writes, so neither waits for the other.
/// </summary>
internal sealed partial class Balancer : IBalancer
{
    /// <summary>
    /// The watcher sleeps for up to 10 ms between two looks, and a little more; a look that comes a little early
    /// counts, or every second one would be lost.
    /// </summary>
    private const long LookMs = 8;

    private const int LooksPerMigration = 10;

    /// <summary>Looks without a new event after which nothing is worth another look.</summary>
    private const int QuietLooks = 100;

    /// <summary>So many connections that wait are what 16 turns accept: a full queue, if the backlog is no shorter.
    /// </summary>
    private const int FullQueue = 64;

    private readonly Lock _sync = new();
    private readonly ILogger _logger;
    private readonly BalancingSettings _settings;
    private readonly BalancingPolicy _policy;
    private readonly IFlowSteering _steering;
    private readonly Place[] _places;
    private readonly ChannelLook[] _looks;
    private readonly long[] _given; // by victim and taker
    private readonly double _fullQueue;
    private readonly bool _movesConnections;
    private readonly bool _movesAll;
    private IBalancedListener[] _listeners = [];
    private long _lastLook;
    private int _looked;
    private int _quiet;

    public Balancer(
        IReadOnlyList<TransportChannel> channels, IFlowSteering steering, int groups,
        MegaPipeTransportOptions options, ILogger logger)
    {
        _steering = steering;
        _logger = logger;
        _settings = BalancingSettings.Default with
        {
            LocalPerStolen = options.LocalPerStolen,
            Migrates = options.MigrateFlowGroups,
        };
        _policy = new BalancingPolicy(channels.Count, groups, _settings);
        _places = [.. channels.Select(channel => new Place(channel))];
        _looks = new ChannelLook[channels.Count];
        _given = new long[channels.Count * channels.Count];
        _fullQueue = Math.Min(FullQueue, options.Backlog);
        _movesConnections = options.MigrateConnections;
        _movesAll = options.MovesAtEachLook;
        Publish();
    }

    public void Add(IBalancedListener listener)
    {
        lock (_sync)
        {
            _listeners = [.. _listeners, listener];
        }
    }

    /// <summary>When this returns, the listener is called no more.</summary>
    public void Remove(IBalancedListener listener)
    {
        lock (_sync)
        {
            _listeners = [.. _listeners.Where(other => other != listener)];
        }
    }

    /// <summary>
    /// The carrier of <paramref name="self"/>, with a connection that it has just accepted: the channel that is to have
    /// it instead, or -1.
    /// </summary>
    public int Choose(int self)
    {
        Place place = _places[self];
        int taker = StealRule.Choose(new Board(this), self, ref place.Next, _settings.LocalPerStolen);
        if (taker < 0)
        {
            Volatile.Write(ref place.Local, place.Local + 1);
        }

        return taker;
    }

    /// <summary>The carrier of <paramref name="self"/>: the connection is on its way.</summary>
    public void NoteGiven(int self, int taker)
    {
        ref long given = ref _given[(self * _places.Length) + taker];
        Volatile.Write(ref given, given + 1);
        Interlocked.Increment(ref _places[taker].Stolen);
    }

    [SuppressMessage("Design", "CA1031", Justification = "The watcher has more to do than this.")]
    public bool Look(long now)
    {
        if (now - _lastLook < LookMs * Stopwatch.Frequency / 1_000)
        {
            return _quiet < QuietLooks;
        }

        try
        {
            lock (_sync)
            {
                Look(Math.Max(1, now - _lastLook), now);
            }
        }
        catch (Exception error)
        {
            TransportLog.BalancingFailed(_logger, error.Message);
        }

        _lastLook = now;
        return _quiet < QuietLooks;
    }

    private void Look(long since, long now)
    {
        if (_movesAll)
        {
            MoveAll();
        }

        if (_movesConnections)
        {
            SampleConnections();
        }

        bool quiet = true;
        for (int i = 0; i < _places.Length; i++)
        {
            quiet &= LookAt(i, since, now);
        }

        _quiet = quiet ? _quiet + 1 : 0;
        if (_quiet == QuietLooks && _movesConnections)
        {
            ForgetConnections(); // the next look may be hours away
        }

        bool changed = _policy.Look(_looks);
        if (++_looked % LooksPerMigration == 0)
        {
            long before = _policy.Migrations;
            changed |= _policy.Migrate(_given);
            if (_policy.Migrations > before)
            {
                TransportLog.GroupsMigrated(_logger, _policy.Migrations - before);
            }

            foreach (Place place in _places)
            {
                Volatile.Write(ref place.LocalBefore, Volatile.Read(ref place.Local));
                Volatile.Write(ref place.StolenBefore, Volatile.Read(ref place.Stolen));
            }
        }

        if (changed)
        {
            _steering.Apply(_policy.Owners);
            Publish();
        }

        for (int i = 0; i < _places.Length; i++)
        {
            HelpTheHung(i);
        }

        if (_movesConnections)
        {
            MoveConnections();
        }
    }

    private void Publish()
    {
        for (int i = 0; i < _places.Length; i++)
        {
            TransportChannel channel = _places[i].Channel;
            Volatile.Write(ref channel.GroupCount, _policy.GroupsOf(i));
            Volatile.Write(ref channel.MigratedCount, _policy.MigratedTo(i));
        }
    }

    /// <summary>Whether nothing has happened there since the last look.</summary>
    private bool LookAt(int index, long since, long now)
    {
        Place place = _places[index];
        TransportChannel channel = place.Channel;
        int queued = 0;
        foreach (IBalancedListener listener in _listeners)
        {
            queued += listener.QueueDepth(index);
        }

        Volatile.Write(ref channel.QueuedCount, queued);
        ChannelCounters ring = default;
        channel.Native.ReadCounters(ref ring);
        long events = (long)ring.Events - place.Events;
        long dispatches = (long)ring.Dispatches - place.Dispatches;
        place.Events = (long)ring.Events;
        place.Dispatches = (long)ring.Dispatches;
        bool asleep = channel.IsWaiting;
        _looks[index] = new ChannelLook(
            channel.Clock.Turns + Volatile.Read(ref channel.InlineCount),
            asleep,
            Carried: !channel.IsAbandoned,
            Math.Min(1, (double)channel.Clock.TakeWork(now) / since),
            (double)channel.Clock.TakeLongestTurn(now) / channel.Scheduling.QueueDelayTicks,
            dispatches > 0 ? (double)events / dispatches / TransportChannel.EventCapacity : 0,
            queued / _fullQueue,
            Volatile.Read(ref channel.ConnectionCount));
        return asleep && events == 0;
    }

    /// <summary>Another channel accepts for one that is hung, and a third one where that hangs, too.</summary>
    private void HelpTheHung(int index)
    {
        Place place = _places[index];
        bool hung = _policy.IsHung(index);
        if (hung != place.WasHung)
        {
            place.WasHung = hung;
            if (hung)
            {
                TransportLog.ChannelHung(_logger, index);
            }
            else
            {
                TransportLog.ChannelBack(_logger, index);
                place.Helper = -1;
                foreach (IBalancedListener listener in _listeners)
                {
                    listener.EndDrains(index);
                }
            }
        }

        if (!hung || (place.Helper >= 0 && !_policy.IsHung(place.Helper)))
        {
            return;
        }

        place.Helper = -1;
        for (int i = 1; i < _places.Length && place.Helper < 0; i++)
        {
            int helper = (index + i) % _places.Length;
            place.Helper = _policy.IsHung(helper) ? -1 : helper;
        }

        if (place.Helper >= 0)
        {
            foreach (IBalancedListener listener in _listeners)
            {
                listener.Drain(index, place.Helper);
            }
        }
    }

    /// <summary>What is known of one channel. Objects, so that carriers do not write to one array.</summary>
    private sealed class Place(TransportChannel channel)
    {
        public readonly TransportChannel Channel = channel;

        // Written by its carrier.
        public long Local;
        public int Next;

        // Written by the carriers of the others.
        public long Stolen;

        // Written by the watcher.
        public long LocalBefore;
        public long StolenBefore;
        public long Events;
        public long Dispatches;
        public int Helper = -1;
        public bool WasHung;
        public readonly WorkSamples<MegaPipeConnection> Working = new();
        public readonly Func<MegaPipeConnection, Mobility> MobilityOf =
            connection => Balancer.MobilityOf(connection, channel);
    }

    private readonly struct Board(Balancer balancer) : IAcceptBoard
    {
        public int Channels => balancer._places.Length;

        public bool IsBusy(int channel) => balancer._policy.IsBusy(channel);

        public bool IsBusyForLong(int channel) => balancer._policy.IsBusyForLong(channel);

        public bool IsHung(int channel) => balancer._policy.IsHung(channel);

        public bool IsAsleep(int channel) => balancer._places[channel].Channel.IsWaiting;

        public int Connections(int channel) =>
            Volatile.Read(ref balancer._places[channel].Channel.ConnectionCount);

        public long Local(int channel) => Volatile.Read(ref balancer._places[channel].Local) -
            Volatile.Read(ref balancer._places[channel].LocalBefore);

        public long Stolen(int channel) => Volatile.Read(ref balancer._places[channel].Stolen) -
            Volatile.Read(ref balancer._places[channel].StolenBefore);
    }
}
