// A channel as the transport runs it: a carrier's turn, and what any thread may do with the channel.
//
// A turn: run the continuations that are ready → perform what was asked for → give it to the kernel as one batch and
// take the next events → bring connections up to date. Only the first step runs user code, and only there may the
// watcher take the channel away; all state of a turn is in fields, so the next carrier goes on where the last one
// stuck.
using System.Diagnostics;
using System.Diagnostics.CodeAnalysis;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Channels;

internal sealed class TransportChannel : Carried, IMeteredChannel
{
    /// <summary>Events taken at a time: more only delays the first ones' answers.</summary>
    public const int EventCapacity = 256;

    /// <summary>
    /// Continuations after which their work is performed: often enough for a batch to become full while others still
    /// run. The ring counts what it is asked, and flushes at BatchThreshold.
    /// </summary>
    private const int PerformAfter = 16;

    private readonly Channel _native;
    private readonly ChannelEvent[] _events = Channel.AllocateEvents(EventCapacity);
    private Registration[] _owners = new Registration[256]; // by the slots of their handles
    private int _ownerCount;
    private ChannelWorkQueue _work;

    // What is queued to the thread pool when the continuations of this turn have run.
    private readonly List<IThreadPoolWorkItem> _afterTurn = [];

    private readonly Stack<IoVectorArray> _vectors = new();
    private readonly Waker _waker;
    private volatile bool _stopping;
    private bool _fedPool; // the carrier's: the pool has something to run that soon asks for the channel
    private long _noYieldBefore; // the carrier's, in ticks
    private long _requestsRecorded; // the ring's counter at the last recorded batch

    public TransportChannel(
        int index, Channel native, ChannelScheduling scheduling, MegaPipeTransportOptions options, int cpu)
        : base(index, scheduling, Math.Min(PerformAfter, options.BatchThreshold), cpu)
    {
        SteeredCpu = options.Steering == MegaPipeSteering.Cpu ? cpu : -1;
        _native = native;
        _waker = new Waker(native);
        Leases = new LeasePool(this, native);
        Arrivals = new ChannelArrivals(this);
        Holds = new SendHolds(options.ZeroCopyAlways);
    }

    /// <summary>The CPU whose connections its partitions prefer, or -1.</summary>
    public int SteeredCpu { get; }

    /// <summary>Lets another thread have this CPU. Tests replace it.</summary>
    internal Func<bool> Yield { get; init; } = Thread.Yield;

    /// <summary>
    /// So long nobody yields after a yield that took too long: a slice of some milliseconds costs a few percent then.
    /// </summary>
    internal long YieldPauseTicks { get; init; } = Stopwatch.Frequency / 4;

    /// <summary>The ring. For the carrier, in its turn.</summary>
    public Channel Native => _native;

    public LeasePool Leases { get; }

    /// <summary>Memory that the kernel sends from without copying it.</summary>
    public SendHolds Holds { get; }

    /// <summary>Connections on their way here from other channels.</summary>
    public ChannelArrivals Arrivals { get; }

    public long AcceptedCount;

    /// <summary>Outgoing connections that were made.</summary>
    public long ConnectedCount;

    /// <summary>
    /// Of these, with source ports of the channel: the answer came to its CPU. Written by the carrier.
    /// </summary>
    public long AnswersHereCount;

    /// <summary>... or to another CPU.</summary>
    public long AnswersElsewhereCount;

    /// <summary>Reads into memory of the application's own. Written by the carrier.</summary>
    public long ReceiveCount;

    public long ResetCount;

    public long PauseCount;

    /// <summary>Connections that it accepted and others have. Written by the carrier.</summary>
    public long GivenCount;

    /// <summary>Connections that others accepted and it has. Written by the carrier.</summary>
    public long TakenCount;

    /// <summary>Connections that lived here and moved to other channels. Written by the carrier.</summary>
    public long MovedOutCount;

    /// <summary>Connections that moved here from other channels. Written by the carrier.</summary>
    public long MovedInCount;

    /// <summary>Connections that wait for it to accept them. Written by the balancer, as the next two.</summary>
    public int QueuedCount;

    /// <summary>Flow groups that it owns.</summary>
    public int GroupCount;

    /// <summary>Flow groups that it was given because it had less work than their owner.</summary>
    public long MigratedCount;

    public long AcceptErrorCount;

    /// <summary>Connections that live on this channel. Written by the carrier.</summary>
    public int ConnectionCount;

    /// <summary>Outgoing connections that are being made, or are to be. Any thread.</summary>
    public int ConnectingCount;

    /// <summary>
    /// Has the carrier perform <paramref name="work"/>. From any thread. A push from a continuation on this
    /// channel's own carrier needs no wake-up: the carrier performs the work before it sleeps. Whether it still is the
    /// carrier is asked after the push, so a hand-over in between finds the work.
    /// </summary>
    /// <remarks>
    /// A pool thread wakes the carrier behind the work that the pool has queued, not at once: what that work flushes
    /// joins the same batch. Waking at once cost HTTP/2, whose streams run on the pool, twice the CPU per request.
    /// </remarks>
    public void Post(IChannelWork work)
    {
        bool first = _work.Push(work);
        if (HasEnded)
        {
            PerformAfterEnd();
            return;
        }

        if (!first || IsCarriedByThisThread)
        {
            return;
        }

        if (Thread.CurrentThread.IsThreadPoolThread)
        {
            ThreadPool.UnsafeQueueUserWorkItem(_waker, preferLocal: false);
            if (Scheduling.Adaptive)
            {
                CarrierWatcher.Instance.Attend(); // it wakes the carrier should the pool be stuck
            }
        }
        else
        {
            _native.Wake();
        }
    }

    /// <summary>One counter. Any thread.</summary>
    public long Read(ChannelCounter counter) => ChannelReport.Read(this, counter);

    public override bool HasWork => !_work.IsEmpty;

    public override bool IsSpinning => _native.IsSpinning;

    public override void Wake() => _native.Wake();

    /// <summary>Binds its carriers to other CPUs; none: to all of the process. Any thread.</summary>
    public void MoveTo(int[] cpus)
    {
        SetCpus(cpus);
        Post(channel =>
        {
            if (channel.IsCarriedByThisThread)
            {
                channel.BindToCpus();
            }
        });
    }

    /// <summary>Runs on the carrier; for the rare things.</summary>
    public void Post(Action<TransportChannel> action) => Post(new DelegateWork(action));

    /// <summary>Ends the carrier's loop as soon as the last connection and listener are gone.</summary>
    public void Stop()
    {
        _stopping = true;
        _native.Wake();
    }

    /// <summary>
    /// Carries the channel until it is stopped (true) or was taken away (false: <paramref name="epoch"/> is over).
    /// </summary>
    internal override bool Carry(long epoch)
    {
        bool measured = Scheduling.Balanced;
        if (measured && epoch == 0)
        {
            Clock.WakeUp(Stopwatch.GetTimestamp()); // a later carrier goes on in the middle of a turn
        }

        while (true)
        {
            if (!RunReady(epoch))
            {
                return false;
            }

            QueueAfterTurn();
            PerformWork();

            if (measured)
            {
                Clock.NextTurn();
            }

            // Performing may make continuations ready, end connections, or ask for more.
            bool wait = NothingReady && _afterTurn.Count == 0 && _work.IsEmpty;
            if (wait && _fedPool)
            {
                wait = !YieldToPool();
            }

            if (wait)
            {
                Records.TellAll();
                wait = NothingReady && _work.IsEmpty; // who listens may have asked for something, on this thread
            }

            if (wait && _stopping && _ownerCount == 0 && Arrivals.TryEnd())
            {
                return true;
            }

            if (wait && measured)
            {
                Clock.Sleep(Stopwatch.GetTimestamp());
            }

            IsWaiting = wait;
            int count = _native.Dispatch(_events, wait ? -1 : 0);
            IsWaiting = false;
            if (wait && measured)
            {
                Clock.WakeUp(Stopwatch.GetTimestamp());
            }

            if (count < 0)
            {
                // The ring itself is broken: nothing that this channel holds can make progress any more.
                Environment.FailFast($"MegaPipe: channel {Index} is broken: {ChannelError.TextOfBroken(count)}");
            }

            if (count > 0 && MegaPipeMetrics.BatchesObserved)
            {
                RecordBatch(count);
            }

            for (int i = 0; i < count; i++)
            {
                TryApply(in _events[i]);
            }
        }
    }

    private void RecordBatch(int events)
    {
        ChannelCounters ring = default;
        _native.ReadCounters(ref ring);
        Records.AddBatch(events, (int)((long)ring.Requests - _requestsRecorded));
        _requestsRecorded = (long)ring.Requests;
    }

    /// <summary>
    /// Destroys the ring. Called by the carrier to which Carry returned true. From now on the thread that asks performs
    /// what it asks for: no carrier comes, and as every connection is gone, only waiting callers are completed.
    /// </summary>
    internal override void Close()
    {
        Holds.Drain(_native, _events);
        MarkEnded();
        _native.Dispose();
        PerformAfterEnd();
        foreach (IoVectorArray vectors in _vectors)
        {
            vectors.Dispose();
        }
    }

    /// <summary>
    /// No application code runs in here, but memory may be out (a pool's Rent, a new connection): that is the end of
    /// the one connection, not of the process.
    /// </summary>
    [SuppressMessage("Design", "CA1031", Justification = "See above; nothing is known of the exception.")]
    private void TryApply(in ChannelEvent channelEvent)
    {
        if ((channelEvent.Flags & (EventFlags.Transferred | EventFlags.Released)) != 0)
        {
            ApplyWithoutHandle(in channelEvent);
            return;
        }

        bool accepted = channelEvent.Stage == Stage.Accept && !channelEvent.IsConnected;
        long handle = accepted ? channelEvent.Source : channelEvent.Handle;
        (IHandleOwner? owner, IReceiver? receiver) = Find(handle);
        if (owner is null)
        {
            return;
        }

        if (channelEvent.IsRetired)
        {
            _owners[HandleSlot.Of(handle)] = default;
            _ownerCount--;
        }

        try
        {
            if (channelEvent.Stage == Stage.Read)
            {
                receiver!.OnRead(in channelEvent);
            }
            else
            {
                owner.OnEvent(in channelEvent);
            }
        }
        catch (Exception error)
        {
            owner.Fail(error);
        }
    }

    private void ApplyWithoutHandle(in ChannelEvent channelEvent)
    {
        if (channelEvent.IsReleased)
        {
            Holds.OnReleased(in channelEvent);
        }
        else
        {
            TryArrive(in channelEvent);
        }
    }

    /// <summary>A connection that another channel has given to this one.</summary>
    [SuppressMessage("Design", "CA1031", Justification = "As in TryApply.")]
    private void TryArrive(in ChannelEvent channelEvent)
    {
        IHandleOwner taker = Arrivals.Take(channelEvent.Cookie);
        try
        {
            taker.OnEvent(in channelEvent);
        }
        catch (Exception error)
        {
            taker.Fail(error);
        }
    }

    private Registration Find(long handle)
    {
        int slot = HandleSlot.Of(handle);
        return slot < _owners.Length ? _owners[slot] : default;
    }

    internal bool Has(IHandleOwner owner) => ReferenceEquals(Find(owner.Handle).Owner, owner);

    /// <summary>
    /// The carrier: from here on <paramref name="owner"/> gets the events of its handle, and
    /// <paramref name="receiver"/> those of its reads.
    /// </summary>
    internal void Add(IHandleOwner owner, IReceiver? receiver = null)
    {
        int slot = HandleSlot.Of(owner.Handle);
        if (slot >= _owners.Length)
        {
            Array.Resize(ref _owners, Math.Max(slot + 1, _owners.Length * 2));
        }

        Debug.Assert(_owners[slot].Owner is null);
        _owners[slot] = new Registration(owner, receiver);
        _ownerCount++;
    }

    /// <summary>The carrier: its handle goes on with another owner.</summary>
    internal void Remove(IHandleOwner owner)
    {
        Debug.Assert(Has(owner));
        _owners[HandleSlot.Of(owner.Handle)] = default;
        _ownerCount--;
    }

    /// <summary>The carrier.</summary>
    internal int CountOwners(Predicate<IHandleOwner> predicate)
    {
        int count = 0;
        foreach ((IHandleOwner? owner, _) in _owners)
        {
            count += owner is not null && predicate(owner) ? 1 : 0;
        }

        return count;
    }

    /// <summary>The carrier: from here on the events of the handle go to others.</summary>
    internal void Replace(IHandleOwner old, IHandleOwner owner, IReceiver receiver)
    {
        Debug.Assert(Has(old) && old.Handle == owner.Handle);
        _owners[HandleSlot.Of(owner.Handle)] = new Registration(owner, receiver);
    }

    /// <summary>The carrier: the owners of all handles, of which <paramref name="action"/> may end some.</summary>
    internal void ForEachOwner(Action<IHandleOwner> action)
    {
        foreach ((IHandleOwner? owner, _) in _owners)
        {
            if (owner is not null)
            {
                action(owner);
            }
        }
    }

    /// <summary>
    /// The carrier: has the pool run <paramref name="item"/>, but only when the continuations of this turn have run.
    /// </summary>
    internal void QueueAfterTurn(IThreadPoolWorkItem item) => _afterTurn.Add(item);

    /// <summary>
    /// Kestrel is about to start a connection on the thread pool, or a connection that lives there was offloaded.
    /// </summary>
    internal override void NotePoolWork() => _fedPool = true;

    /// <summary>
    /// The carrier, before it sleeps: where no core is idle the pool's thread can only run when this one does not, and
    /// what it runs soon asks for the channel. Letting it run first saves a sleep and a wake-up for a new connection,
    /// and for each answer of one that lives on the pool. true: something was asked meanwhile.
    /// The scheduler makes who yields wait for a whole time slice of whoever computes, while a sleeper that is woken
    /// runs at once. So after a yield that lasted longer than others may wait in a turn, the channel yields no more for
    /// a while.
    /// </summary>
    private bool YieldToPool()
    {
        _fedPool = false;
        long start = Stopwatch.GetTimestamp();
        if (start < _noYieldBefore || HasIdleCore())
        {
            return false;
        }

        Yield();
        long end = Stopwatch.GetTimestamp();
        if (end - start > Scheduling.QueueDelayTicks)
        {
            _noYieldBefore = end + YieldPauseTicks;
        }

        return !_work.IsEmpty;
    }

    private void QueueAfterTurn()
    {
        foreach (IThreadPoolWorkItem item in _afterTurn)
        {
            ThreadPool.UnsafeQueueUserWorkItem(item, preferLocal: false);
        }

        _afterTurn.Clear();
    }

    protected override void PerformWork()
    {
        Leases.HandBack();
        PerformQueued();
    }

    private void PerformQueued()
    {
        IChannelWork? work = _work.TakeAll();
        while (work is not null)
        {
            IChannelWork? next = work.NextWork;
            work.NextWork = null;
            TryPerform(work);
            work = next;
        }
    }

    [SuppressMessage("Design", "CA1031", Justification = "As in TryApply.")]
    private void TryPerform(IChannelWork work)
    {
        try
        {
            work.Perform(this);
        }
        catch (Exception error)
        {
            (work as IHandleOwner)?.Fail(error);
        }
    }

    /// <summary>
    /// Any thread. The queue is emptied by one exchange, so each piece of work has one who performs it. Pushing is an
    /// interlocked operation and so a fence: either the one who pushed sees the end, or the end sees the push.
    /// </summary>
    private void PerformAfterEnd()
    {
        Interlocked.MemoryBarrier();
        PerformQueued();
    }

    /// <summary>A vector array for a gathered write; back with <see cref="ReturnVectors"/> after its event.</summary>
    internal IoVectorArray RentVectors() =>
        _vectors.TryPop(out IoVectorArray? vectors) ? vectors : new IoVectorArray(64);

    internal void ReturnVectors(IoVectorArray vectors)
    {
        vectors.Clear();
        _vectors.Push(vectors);
    }

    private readonly record struct Registration(IHandleOwner? Owner, IReceiver? Receiver);

    private sealed class Waker(Channel native) : IThreadPoolWorkItem
    {
        void IThreadPoolWorkItem.Execute() => native.Wake();
    }
}
