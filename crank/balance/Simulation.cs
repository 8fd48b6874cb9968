// Channels in virtual time: each takes turns as a carrier does, and the transport's own policy decides for them.
using MegaPipe.Kestrel.Internal.Balancing;

namespace MegaPipe.Balance;

/// <summary>What steers, and what balances.</summary>
internal sealed record Variant(string Name, bool ByCpu, bool Balanced, bool Stealing, bool Migration)
{
    public static readonly Variant[] All =
    [
        new("Hash", false, false, false, false),
        new("Cpu", true, false, false, false),
        new("Table only", false, true, false, false),
        new("Stealing", false, true, true, false),
        new("Migration", false, true, false, true),
        new("Balanced", false, true, true, true),
    ];
}

internal sealed record Outcome(
    long Connections, double Imbalance, double P50Us, double P99Us, double MaxUs, double ServedShare, long Stolen,
    long Migrations, double WorstOfHungUs);

/// <summary>One run. Times are in microseconds of virtual time.</summary>
internal sealed class Simulation(Pattern pattern, int channels, Variant variant, BalancingSettings settings, int seed)
{
    private const double WarmUpUs = 2_000_000;
    private const double EndUs = 4_000_000;
    private const double LookUs = 10_000;
    private const int LooksPerMigration = 10;

    /// <summary>When and for how long channel 0 is stuck.</summary>
    private const double HangAtUs = 2_500_000;
    private const double HangUs = 2_000_000;

    /// <summary>Accepts outstanding, so that many a turn takes (ListenerPartition).</summary>
    private const int AcceptsPerTurn = 4;

    /// <summary>A message to another ring, and the turn that it makes there.</summary>
    private const double TransferUs = 5;

    /// <summary>A turn that takes so long is full (ChannelScheduling), and so is a queue of so many.</summary>
    private const double FullTurnUs = 1_000;
    private const double FullQueue = 64;

    private readonly BalancingPolicy _policy = new(channels, settings with { Migrates = variant.Migration });
    private readonly Simulated[] _channels = [.. Enumerable.Range(0, channels).Select(_ => new Simulated())];
    private readonly PriorityQueue<(Kind Kind, int Channel, Job Job), double> _events = new();
    private readonly ChannelLook[] _looks = new ChannelLook[channels];
    private readonly long[] _given = new long[channels * channels];
    private readonly List<double> _latencies = [];
    private readonly int _localPerStolen = variant.Stealing ? settings.LocalPerStolen : 0;
    private double _worstOfHung;
    private long _asked;
    private long _stolen;

    private enum Kind
    {
        Arrive,
        Transferred,
        JobDone,
        Look,
        Hang,
    }

    private readonly record struct Job(double At, double Cost, bool IsNew);

    public Outcome Run()
    {
        int mask = _policy.Owners.Length - 1;
        Workload workload = new(
            pattern, channels, hash => variant.Balanced ? (int)(hash & mask) % channels : Scale(hash), seed);
        using IEnumerator<Arrival> arrivals = workload.Arrivals().GetEnumerator();
        _events.Enqueue((Kind.Look, 1, default), LookUs);
        if (pattern == Pattern.Hung)
        {
            _events.Enqueue((Kind.Hang, 0, default), HangAtUs);
        }

        arrivals.MoveNext();
        double end = pattern == Pattern.Hung ? EndUs + HangUs : EndUs;
        while (true)
        {
            if (!_events.TryPeek(out _, out double next) || arrivals.Current.At <= next)
            {
                Arrival arrival = arrivals.Current;
                if (arrival.At >= end)
                {
                    break;
                }

                arrivals.MoveNext();
                int channel = variant.ByCpu ? arrival.Cpu
                    : variant.Balanced ? _policy.Owners[(int)(arrival.Hash & mask)] : Scale(arrival.Hash);
                _asked += arrival.At >= WarmUpUs ? 1 : 0;
                _channels[channel].Queue.Enqueue(new Job(arrival.At, arrival.Cost, IsNew: true));
                Begin(channel, arrival.At);
                continue;
            }

            _events.TryDequeue(out (Kind Kind, int Channel, Job Job) happening, out double now);
            if (now >= end)
            {
                break;
            }

            Handle(happening.Kind, happening.Channel, happening.Job, now);
        }

        return Conclude(end);
    }

    /// <summary>As the kernel picks a member of a group of listeners.</summary>
    private int Scale(uint hash) => (int)(((ulong)hash * (uint)channels) >> 32);

    private void Handle(Kind kind, int index, Job job, double now)
    {
        Simulated channel = _channels[index % channels];
        switch (kind)
        {
            case Kind.Transferred:
                channel.Transferred.Enqueue(job);
                Begin(index, now);
                break;
            case Kind.Hang:
                channel.Transferred.Enqueue(new Job(now, HangUs, IsNew: false));
                Begin(index, now);
                break;
            case Kind.JobDone:
                channel.Progress++;
                Finish(job, now);
                Continue(index, now);
                break;
            case Kind.Look:
                Look(now, migrate: index % LooksPerMigration == 0);
                _events.Enqueue((Kind.Look, index + 1, default), now + LookUs);
                break;
        }
    }

    private void Finish(Job job, double now)
    {
        if (job.Cost >= HangUs)
        {
            return;
        }

        if (job.At >= WarmUpUs)
        {
            _latencies.Add(now - job.At);
            if (pattern == Pattern.Hung && job.At >= HangAtUs)
            {
                _worstOfHung = Math.Max(_worstOfHung, now - job.At);
            }
        }
    }

    /// <summary>A channel that sleeps wakes up.</summary>
    private void Begin(int index, double now)
    {
        if (!_channels[index].Running)
        {
            _channels[index].TurnStart = now;
            _channels[index].AwakeSince = now;
            Turn(index, now);
        }
    }

    private void Continue(int index, double now)
    {
        Simulated channel = _channels[index];
        if (channel.Batch.Count == 0)
        {
            channel.LongestTurn = Math.Max(channel.LongestTurn, now - channel.TurnStart);
            channel.TurnStart = now;
            Turn(index, now);
            return;
        }

        Start(index, now);
    }

    /// <summary>Takes what is there, gives away what the rule says, and starts on the rest.</summary>
    private void Turn(int index, double now)
    {
        Simulated channel = _channels[index];
        channel.Turns++;
        while (channel.Transferred.TryDequeue(out Job job))
        {
            channel.Batch.Enqueue(job);
        }

        Board board = new(this);
        for (int i = 0; i < AcceptsPerTurn && channel.Queue.TryDequeue(out Job job); i++)
        {
            int taker = variant.Balanced
                ? StealRule.Choose(in board, index, ref channel.Next, _localPerStolen) : -1;
            if (taker < 0)
            {
                channel.Local++;
                channel.Batch.Enqueue(job with { IsNew = false });
                continue;
            }

            _given[(index * channels) + taker]++;
            _channels[taker].Stolen++;
            _stolen++;
            _events.Enqueue((Kind.Transferred, taker, job with { IsNew = false }), now + TransferUs);
        }

        channel.Events = Math.Max(channel.Events, channel.Batch.Count);
        channel.Running = channel.Batch.Count > 0 || channel.Queue.Count > 0;
        if (!channel.Running)
        {
            channel.WorkUs += now - channel.AwakeSince;
        }

        if (channel.Batch.Count > 0)
        {
            Start(index, now);
        }
        else if (channel.Running)
        {
            // All of it was given away: the next turn, when that is done.
            _events.Enqueue((Kind.JobDone, index, new Job(-1, 0, false)), now + TransferUs);
        }
    }

    private void Start(int index, double now)
    {
        Job job = _channels[index].Batch.Dequeue();
        double busy = Math.Min(job.Cost, EndUs - now);
        if (now >= WarmUpUs && busy > 0 && job.Cost < HangUs)
        {
            _channels[index].BusyUs += busy;
        }

        _events.Enqueue((Kind.JobDone, index, job), now + job.Cost);
    }

    private void Look(double now, bool migrate)
    {
        if (!variant.Balanced)
        {
            return;
        }

        for (int i = 0; i < channels; i++)
        {
            Simulated channel = _channels[i];
            double longest = Math.Max(channel.LongestTurn, channel.Running ? now - channel.TurnStart : 0);
            _looks[i] = new ChannelLook(
                channel.Turns + channel.Progress, !channel.Running, Carried: true,
                channel.WorkSince(now) / LookUs, longest / FullTurnUs,
                channel.Events / 256.0, channel.Queue.Count / FullQueue,
                channel.Queue.Count + channel.Transferred.Count + channel.Batch.Count);
            channel.LongestTurn = 0;
            channel.Events = 0;
        }

        _policy.Look(_looks);
        for (int i = 0; i < channels; i++)
        {
            if (_policy.IsHung(i))
            {
                Drain(i, now);
            }
        }

        if (migrate)
        {
            _policy.Migrate(_given);
            foreach (Simulated channel in _channels)
            {
                channel.Local = channel.Stolen = 0;
            }
        }
    }

    /// <summary>Others accept what a hung channel's queue has.</summary>
    private void Drain(int hung, double now)
    {
        int taker = hung;
        int tries = channels;
        while (_channels[hung].Queue.Count > 0 && tries > 0)
        {
            taker = (taker + 1) % channels;
            tries--;
            if (_policy.IsHung(taker))
            {
                continue;
            }

            tries = channels;
            _channels[taker].Transferred.Enqueue(_channels[hung].Queue.Dequeue() with { IsNew = false });
            Begin(taker, now);
        }
    }

    private Outcome Conclude(double end)
    {
        long served = _latencies.Count;

        // What was never served has waited until the end.
        foreach (Simulated channel in _channels)
        {
            foreach (Job job in channel.Queue.Concat(channel.Transferred).Concat(channel.Batch))
            {
                Finish(job, end);
            }
        }

        _latencies.Sort();
        double mean = _channels.Average(channel => channel.BusyUs);
        return new Outcome(
            _latencies.Count, _channels.Max(channel => channel.BusyUs) / mean, At(0.5), At(0.99), At(1),
            (double)served / Math.Max(1, _asked), _stolen, _policy.Migrations, _worstOfHung);
    }

    private double At(double share) =>
        _latencies.Count == 0 ? 0 : _latencies[(int)Math.Min(_latencies.Count - 1, share * _latencies.Count)];

    private sealed class Simulated
    {
        public readonly Queue<Job> Queue = new(); // to be accepted
        public readonly Queue<Job> Transferred = new();
        public readonly Queue<Job> Batch = new(); // of this turn
        public bool Running;
        public double TurnStart;
        public double LongestTurn;
        public double BusyUs;
        public long Turns;
        public long Progress;
        public long Local;
        public long Stolen;
        public int Events;
        public int Next;
        public double AwakeSince;
        public double WorkUs;

        public double WorkSince(double now)
        {
            double work = WorkUs + (Running ? now - AwakeSince : 0);
            WorkUs = 0;
            AwakeSince = now;
            return work;
        }
    }

    private readonly struct Board(Simulation simulation) : IAcceptBoard
    {
        public int Channels => simulation._channels.Length;

        public bool IsBusy(int channel) => simulation._policy.IsBusy(channel);

        public bool IsBusyForLong(int channel) => simulation._policy.IsBusyForLong(channel);

        public bool IsHung(int channel) => simulation._policy.IsHung(channel);

        public bool IsAsleep(int channel) => !simulation._channels[channel].Running;

        public int Connections(int channel) =>
            simulation._channels[channel].Batch.Count + simulation._channels[channel].Transferred.Count;

        public long Local(int channel) => simulation._channels[channel].Local;

        public long Stolen(int channel) => simulation._channels[channel].Stolen;
    }
}
