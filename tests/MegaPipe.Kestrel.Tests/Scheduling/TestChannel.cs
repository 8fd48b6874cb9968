// A real channel on a real ring with no host: its carriers and its watcher are the test's.
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Tests.Scheduling;

/// <summary>
/// Carriers wait here for an epoch, as the transport's own do, and live as long as the channel. Nothing watches them:
/// a test takes the channel away itself.
/// </summary>
internal sealed class TestChannel : IDisposable
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(30);

    private readonly SemaphoreSlim _assigned = new(0);
    private readonly ManualResetEventSlim _finished = new();
    private readonly Thread[] _carriers;
    private long _epoch;
    private int _free;
    private int _finishedCount;
    private int _inside;
    private int _overlaps;
    private volatile bool _end;

    public TestChannel(
        int carriers, MegaPipeScheduling scheduling = MegaPipeScheduling.Adaptive, TimeSpan? inlineBudget = null,
        Func<bool>? hasIdleCore = null, TimeSpan? handOverAfter = null, Func<bool>? yield = null,
        long yieldPauseTicks = 0)
    {
        Scheduling = new ChannelScheduling(new MegaPipeTransportOptions
        {
            Scheduling = scheduling,
            // What a test makes wait must not be offloaded for it.
            InlineBudget = inlineBudget ?? TimeSpan.FromSeconds(1),
            // No watcher looks. Hand-overs as close together as a test's must not make the channel retreat.
            HandOverAfter = handOverAfter ?? TimeSpan.Zero,
        }, channels: 1);
        Channel = new TransportChannel(
            0,
            MegaPipe.Native.Channel.Create(new ChannelConfig { MaxHandles = 64, BufferCount = 8, BufferBytes = 256 }),
            Scheduling, new MegaPipeTransportOptions(), cpu: -1)
        {
            HasIdleCore = hasIdleCore ?? (() => false),
            Yield = yield ?? Thread.Yield,
            YieldPauseTicks = yieldPauseTicks,
        };
        _free = carriers;
        _carriers = [.. Enumerable.Range(0, carriers).Select(_ => new Thread(Live) { IsBackground = true })];
        foreach (Thread carrier in _carriers)
        {
            carrier.Start();
        }

        Assert.True(TryAssign(0));
    }

    public ChannelScheduling Scheduling { get; }

    public TransportChannel Channel { get; }

    /// <summary>Carriers that could be given the channel.</summary>
    public int FreeCarriers => Volatile.Read(ref _free);

    /// <summary>Times that two threads were in the channel's turn at once.</summary>
    public int Overlaps => Volatile.Read(ref _overlaps);

    /// <summary>Has a free carrier carry the channel from this epoch on.</summary>
    public bool TryAssign(long epoch)
    {
        if (Volatile.Read(ref _free) == 0)
        {
            return false;
        }

        Interlocked.Decrement(ref _free);
        Volatile.Write(ref _epoch, epoch);
        _assigned.Release();
        return true;
    }

    /// <summary>
    /// Takes the channel from the carrier that is in application code. false when none is, or none is free.
    /// </summary>
    public bool TryHandOver()
    {
        long epoch = Channel.EpochInApplication;
        if (epoch < 0 || FreeCarriers == 0)
        {
            return false;
        }

        long next = Channel.TryTakeAway(epoch);
        return next >= 0 && TryAssign(next);
    }

    /// <summary>
    /// Makes continuations ready on the carrier, in this order, and checks that it is alone in there.
    /// </summary>
    public void Ready(params IReadOnlyList<Continuation> continuations) => Channel.Post(channel =>
    {
        if (Interlocked.Increment(ref _inside) != 1 || channel.EpochInApplication >= 0)
        {
            Interlocked.Increment(ref _overlaps);
        }

        foreach (Continuation continuation in continuations)
        {
            channel.Schedule(continuation);
        }

        Interlocked.Decrement(ref _inside);
    });

    public static void WaitUntil(Func<bool> condition, Func<string> describe) =>
        Assert.True(SpinWait.SpinUntil(condition, s_limit), describe());

    /// <summary>Stops the channel; every continuation that waits must have been let go.</summary>
    public void Dispose()
    {
        Channel.Stop();
        bool finished = _finished.Wait(s_limit);
        _end = true;
        _assigned.Release(_carriers.Length);
        Assert.True(finished, "The channel never ended.");
        foreach (Thread carrier in _carriers)
        {
            Assert.True(carrier.Join(s_limit), "A carrier never came back.");
        }

        Assert.Equal(1, _finishedCount);
        Assert.Equal(0, Overlaps);
        _assigned.Dispose();
        _finished.Dispose();
    }

    private void Live()
    {
        while (true)
        {
            _assigned.Wait();
            if (_end)
            {
                return;
            }

            long epoch = Volatile.Read(ref _epoch);
            Channel.Board(epoch);
            bool finished = Channel.Carry(epoch);
            Carried.Leave();
            if (finished)
            {
                Channel.Close();
                Interlocked.Increment(ref _finishedCount);
                _finished.Set();
            }

            Interlocked.Increment(ref _free);
        }
    }
}

/// <summary>A continuation made of an action.</summary>
internal sealed class TestContinuation(ChannelScheduling scheduling, Action run, ContinuationCost? cost = null)
    : Continuation(cost ?? new ContinuationCost(), scheduling)
{
    public override void Run() => run();
}
