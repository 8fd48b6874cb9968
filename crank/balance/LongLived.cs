// Connections that live on, in virtual time: each asks, waits for its answer, pauses and asks again, and may move to
// another channel while it is idle, by the transport's own policy.
using MegaPipe.Kestrel.Internal.Balancing;

namespace MegaPipe.Balance;

internal enum LongPattern
{
    /// <summary>All cost the same: nothing to balance.</summary>
    Even,

    /// <summary>What came to channel 0 costs 20 times as much.</summary>
    HeavyChannel,

    /// <summary>As HeavyChannel, but after two seconds it is what came to channel 1.</summary>
    HeavyShifts,

    /// <summary>One connection in fifty, by chance, costs 50 times as much.</summary>
    HeavyFew,
}

/// <summary>One run. Times are in microseconds of virtual time.</summary>
internal sealed class LongLived
{
    private const double WarmUpUs = 2_000_000;
    private const double EndUs = 4_000_000;
    private const double LookUs = 10_000;
    private const int PerChannel = 50;
    private const double MeanCostUs = 100;
    private const double LoadOfAll = 0.65;

    /// <summary>Canceling a read, a transfer and another read: what each side of a move works.</summary>
    private const double MoveUs = 10;

    /// <summary>As MegaPipeConnection has it: who is never idle stays.</summary>
    private const int Tries = 8;

    private readonly int _channels;
    private readonly bool _moves;
    private readonly LongPattern _pattern;
    private readonly Random _random;
    private readonly BalancingPolicy _policy;
    private readonly PriorityQueue<(Kind Kind, int Index), double> _events = new();
    private readonly Channel[] _all;
    private readonly Connection[] _connections;
    private readonly ChannelLook[] _looks;
    private readonly List<double> _latencies = [];
    private long _moved;

    public LongLived(LongPattern pattern, int channels, bool moves, int seed)
    {
        (_pattern, _channels, _moves, _random) = (pattern, channels, moves, new Random(seed));
        _policy = new BalancingPolicy(channels, BalancingSettings.Default);
        _all = [.. Enumerable.Range(0, channels).Select(_ => new Channel())];
        _looks = new ChannelLook[channels];
        _connections =
        [
            .. Enumerable.Range(0, channels * PerChannel).Select(i =>
                new Connection(i % channels, heavy: pattern == LongPattern.HeavyFew && _random.Next(50) == 0)),
        ];
    }

    private enum Kind
    {
        Ask,
        Done,
        Look,
    }

    public Outcome Run()
    {
        double gap = MeanCostUs / (_channels * LoadOfAll) * _connections.Length;
        for (int i = 0; i < _connections.Length; i++)
        {
            _events.Enqueue((Kind.Ask, i), Exponential(gap));
        }

        _events.Enqueue((Kind.Look, 0), LookUs);
        long asked = 0;
        while (_events.TryDequeue(out (Kind Kind, int Index) happening, out double now) && now < EndUs)
        {
            switch (happening.Kind)
            {
                case Kind.Ask:
                    asked += now >= WarmUpUs ? 1 : 0;
                    Connection connection = _connections[happening.Index];
                    connection.Waiting++;
                    _all[connection.Channel].Queue.Enqueue((now, happening.Index));
                    Begin(connection.Channel, now);
                    break;
                case Kind.Done:
                    _events.Enqueue((Kind.Ask, _all[happening.Index].Running), now + Exponential(gap));
                    Done(happening.Index, now);
                    break;
                default:
                    Look(now);
                    _events.Enqueue((Kind.Look, 0), now + LookUs);
                    break;
            }
        }

        return Conclude(asked);
    }

    private void Begin(int index, double now)
    {
        Channel channel = _all[index];
        if (channel.Running < 0 && channel.Queue.TryDequeue(out (double At, int Connection) job))
        {
            channel.Running = job.Connection;
            channel.RunningAt = job.At;
            channel.Turns++;
            double cost = Exponential(CostOf(_connections[job.Connection], now)) + channel.Extra;
            channel.Extra = 0;
            channel.BusyUs += now >= WarmUpUs ? Math.Min(cost, EndUs - now) : 0;
            channel.WorkUs += cost;
            channel.LongestTurn = Math.Max(channel.LongestTurn, cost);
            _events.Enqueue((Kind.Done, index), now + cost);
        }
    }

    private void Done(int index, double now)
    {
        Channel channel = _all[index];
        Connection connection = _connections[channel.Running];
        connection.Waiting--;
        if (channel.RunningAt >= WarmUpUs)
        {
            _latencies.Add(now - channel.RunningAt);
        }

        channel.Running = -1;
        TryMove(connection, now);
        Begin(index, now);
    }

    private void TryMove(Connection connection, double now)
    {
        if (connection.MoveTo < 0)
        {
            return;
        }

        if (connection.Waiting > 0)
        {
            connection.MoveTo = connection.TriesLeft-- > 0 ? connection.MoveTo : -1;
            return;
        }

        _all[connection.Channel].Connections--;
        _all[connection.Channel].Extra += MoveUs;
        _all[connection.MoveTo].Connections++;
        _all[connection.MoveTo].Extra += MoveUs;
        (connection.Channel, connection.MoveTo, connection.MovedAt) = (connection.MoveTo, -1, now);
        _moved++;
    }

    private void Look(double now)
    {
        for (int i = 0; i < _channels; i++)
        {
            Channel channel = _all[i];
            channel.Working.Add(channel.Running < 0 ? null : _connections[channel.Running]);
            double work = Math.Min(LookUs, channel.WorkUs);
            channel.WorkUs -= work; // the rest was counted ahead, and is of the next looks
            _looks[i] = new ChannelLook(
                channel.Turns, channel.Running < 0, Carried: true, work / LookUs, channel.LongestTurn / 1_000,
                Math.Min(1, channel.Queue.Count / 256.0), 0, channel.Connections);
            channel.LongestTurn = 0;
        }

        _policy.Look(_looks);
        for (int i = 0; _moves && i < _channels; i++)
        {
            MoveOne(i, now);
        }
    }

    private void MoveOne(int from, double now)
    {
        int to = _policy.MoveConnection(
            from, _all[from].Working, _all[from].Connections,
            seen => seen.Channel != from ? Mobility.Gone : now - seen.MovedAt < 1_000_000 ? Mobility.Stays
                : Mobility.Moves,
            out Connection? connection);
        if (to >= 0)
        {
            (connection!.MoveTo, connection.TriesLeft) = (to, Tries);
            TryMove(connection, now);
        }
    }

    private double CostOf(Connection connection, double now)
    {
        const double channelFactor = 20, fewFactor = 50, few = 1.0 / 50;
        double others = MeanCostUs / ((channelFactor + _channels - 1) / _channels);
        return _pattern switch
        {
            LongPattern.HeavyChannel => connection.First == 0 ? others * channelFactor : others,
            LongPattern.HeavyShifts =>
                connection.First == (now < WarmUpUs ? 0 : 1) ? others * channelFactor : others,
            LongPattern.HeavyFew => MeanCostUs / (1 - few + (few * fewFactor)) * (connection.Heavy ? fewFactor : 1),
            _ => MeanCostUs,
        };
    }

    private Outcome Conclude(long asked)
    {
        long served = _latencies.Count;
        foreach (Channel channel in _all)
        {
            _latencies.AddRange(channel.Queue.Where(job => job.At >= WarmUpUs).Select(job => EndUs - job.At));
        }

        _latencies.Sort();
        double At(double share) => _latencies[(int)Math.Min(_latencies.Count - 1, share * _latencies.Count)];
        return new Outcome(
            _latencies.Count, _all.Max(channel => channel.BusyUs) / _all.Average(channel => channel.BusyUs), At(0.5),
            At(0.99), At(1), (double)served / Math.Max(1, asked), 0, _moved, 0);
    }

    private double Exponential(double mean) => -mean * Math.Log(1 - _random.NextDouble());

    private sealed class Connection(int first, bool heavy)
    {
        public readonly int First = first;
        public readonly bool Heavy = heavy;
        public int Channel = first;
        public int Waiting;
        public int MoveTo = -1;
        public int TriesLeft;
        public double MovedAt = double.NegativeInfinity;
    }

    private sealed class Channel
    {
        public readonly Queue<(double At, int Connection)> Queue = new();
        public readonly WorkSamples<Connection> Working = new();
        public int Running = -1;
        public double RunningAt;
        public long Turns;
        public double WorkUs;
        public double BusyUs;
        public double LongestTurn;
        public double Extra;
        public int Connections = PerChannel;
    }
}
