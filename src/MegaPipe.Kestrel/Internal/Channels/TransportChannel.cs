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
    private const int EventCapacity = 256;

    private readonly Channel _native;
    private readonly ChannelEvent[] _events = Channel.AllocateEvents(EventCapacity);
    private IHandleOwner?[] _owners = new IHandleOwner?[256]; // by the slots of their handles
    private int _ownerCount;
    private ChannelRequestQueue _requests;

    // What is queued to the thread pool when the continuations of this turn have run.
    private readonly List<IThreadPoolWorkItem> _afterTurn = [];

    private readonly Stack<IoVectorArray> _vectors = new();
    private readonly Waker _waker;
    private volatile bool _stopping;
    private long _requestsRecorded; // the ring's counter at the last recorded batch

    public TransportChannel(
        int index, Channel native, ChannelScheduling scheduling, MegaPipeTransportOptions options, int cpu)
        : base(index, scheduling, options.BatchThreshold, cpu)
    {
        SteeredCpu = options.Steering == MegaPipeSteering.Cpu ? cpu : -1;
        _native = native;
        _waker = new Waker(native);
        Leases = new LeasePool(this, native);
    }

    /// <summary>The CPU whose connections its partitions prefer, or -1.</summary>
    public int SteeredCpu { get; }

    /// <summary>The ring. For the carrier, in its turn.</summary>
    public Channel Native => _native;

    public LeasePool Leases { get; }

    public long AcceptedCount;

    public long ResetCount;

    public long PauseCount;

    public long AcceptErrorCount;

    /// <summary>Connections that live on this channel. Written by the carrier.</summary>
    public int ConnectionCount;

    /// <summary>
    /// Has the carrier perform <paramref name="request"/>. From any thread. A push from a continuation on this
    /// channel's own carrier needs no wake-up: the carrier performs requests before it sleeps. Whether it still is the
    /// carrier is asked after the push, so a hand-over in between finds the request.
    /// </summary>
    /// <remarks>
    /// A pool thread wakes the carrier behind the work that the pool has queued, not at once: what that work flushes
    /// joins the same batch. Waking at once cost HTTP/2, whose streams run on the pool, twice the CPU per request.
    /// </remarks>
    public void Request(IChannelRequest request)
    {
        bool first = _requests.Push(request);
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

    public override bool HasRequests => !_requests.IsEmpty;

    public override void Wake() => _native.Wake();

    /// <summary>Runs on the carrier; for the rare things.</summary>
    public void Post(Action<TransportChannel> action) => Request(new DelegateRequest(action));

    /// <summary>
    /// The same for a caller that blocks until it is done: the pool's thread that would wake the carrier may be his.
    /// </summary>
    public void PostAtOnce(Action<TransportChannel> action)
    {
        Post(action);
        _native.Wake();
    }

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
        while (true)
        {
            if (!RunReady(epoch))
            {
                return false;
            }

            QueueAfterTurn();
            PerformRequests();

            // Performing may make continuations ready, end connections, or ask for more.
            bool wait = NothingReady && _afterTurn.Count == 0 && _requests.IsEmpty;
            if (wait && _stopping && _ownerCount == 0)
            {
                return true;
            }

            IsWaiting = wait;
            int count = _native.Dispatch(_events, wait ? -1 : 0);
            IsWaiting = false;
            if (count < 0)
            {
                // The ring itself is broken: nothing that this channel holds can make progress any more.
                Environment.FailFast($"MegaPipe: channel {Index} is broken: {ChannelError.Text(count)}");
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
        MegaPipeMetrics.RecordBatch(Index, events, (int)((long)ring.Requests - _requestsRecorded));
        _requestsRecorded = (long)ring.Requests;
    }

    /// <summary>
    /// Destroys the ring. Called by the carrier to which Carry returned true. From now on the thread that asks performs
    /// what it asks for: no carrier comes, and as every connection is gone, only waiting callers are completed.
    /// </summary>
    internal override void Close()
    {
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
        long handle = channelEvent.Stage == Stage.Accept ? channelEvent.Source : channelEvent.Handle;
        if (Find(handle) is not { } owner)
        {
            return;
        }

        if (channelEvent.IsRetired)
        {
            _owners[HandleSlot.Of(handle)] = null;
            _ownerCount--;
        }

        try
        {
            owner.OnEvent(in channelEvent);
        }
        catch (Exception error)
        {
            owner.Fail(error);
        }
    }

    private IHandleOwner? Find(long handle)
    {
        int slot = HandleSlot.Of(handle);
        return slot < _owners.Length ? _owners[slot] : null;
    }

    internal bool Has(IHandleOwner owner) => ReferenceEquals(Find(owner.Handle), owner);

    /// <summary>The carrier: from here on <paramref name="owner"/> gets the events of its handle.</summary>
    internal void Add(IHandleOwner owner)
    {
        int slot = HandleSlot.Of(owner.Handle);
        if (slot >= _owners.Length)
        {
            Array.Resize(ref _owners, Math.Max(slot + 1, _owners.Length * 2));
        }

        Debug.Assert(_owners[slot] is null);
        _owners[slot] = owner;
        _ownerCount++;
    }

    /// <summary>
    /// The carrier: has the pool run <paramref name="item"/>, but only when the continuations of this turn have run.
    /// </summary>
    internal void QueueAfterTurn(IThreadPoolWorkItem item) => _afterTurn.Add(item);

    private void QueueAfterTurn()
    {
        foreach (IThreadPoolWorkItem item in _afterTurn)
        {
            ThreadPool.UnsafeQueueUserWorkItem(item, preferLocal: false);
        }

        _afterTurn.Clear();
    }

    protected override void Flush() => _native.Flush();

    protected override void PerformRequests()
    {
        Leases.HandBack();
        IChannelRequest? request = _requests.TakeAll();
        while (request is not null)
        {
            IChannelRequest? next = request.NextRequest;
            request.NextRequest = null;
            TryPerform(request);
            request = next;
        }
    }

    [SuppressMessage("Design", "CA1031", Justification = "As in TryApply.")]
    private void TryPerform(IChannelRequest request)
    {
        try
        {
            request.Perform(this);
        }
        catch (Exception error)
        {
            (request as IHandleOwner)?.Fail(error);
        }
    }

    /// <summary>
    /// Any thread. The queue is emptied by one exchange, so each request has one who performs it. Pushing is an
    /// interlocked operation and so a fence: either the one who pushed sees the end, or the end sees the push.
    /// </summary>
    private void PerformAfterEnd()
    {
        Interlocked.MemoryBarrier();
        IChannelRequest? request = _requests.TakeAll();
        while (request is not null)
        {
            IChannelRequest? next = request.NextRequest;
            request.NextRequest = null;
            TryPerform(request);
            request = next;
        }
    }

    /// <summary>A vector array for a gathered write; back with <see cref="ReturnVectors"/> after its event.</summary>
    internal IoVectorArray RentVectors() =>
        _vectors.TryPop(out IoVectorArray? vectors) ? vectors : new IoVectorArray(64);

    internal void ReturnVectors(IoVectorArray vectors)
    {
        vectors.Clear();
        _vectors.Push(vectors);
    }

    private sealed class Waker(Channel native) : IThreadPoolWorkItem
    {
        void IThreadPoolWorkItem.Execute() => native.Wake();
    }
}
