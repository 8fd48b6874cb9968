// A channel with the test's thread as its carrier, a listener, and plain sockets as clients. Disposing it closes every
// handle and asserts what must hold after every test: nothing in flight, no lease out, no fd more than before.
using System.Diagnostics;
using System.Net.Sockets;

namespace MegaPipe.Native.Tests.Support;

internal sealed class ChannelHarness : IDisposable
{
    /// <summary>Far above what anything here takes, far below a human's patience.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly int _fdsBefore;
    private readonly List<IDisposable> _owned = [];
    private readonly HashSet<long> _handles = [];
    private readonly Queue<ChannelEvent> _waiting = new();
    private readonly ChannelEvent[] _events = Channel.AllocateEvents(64);

    /// <param name="config">The channel's configuration; null: the defaults.</param>
    /// <param name="outer">A harness that lives longer and checks the process's fds for both.</param>
    public ChannelHarness(ChannelConfig? config = null, ChannelHarness? outer = null)
    {
        _fdsBefore = outer is null ? OpenFds.Count() : int.MaxValue;
        Channel = Channel.Create(config ?? new ChannelConfig());
    }

    public Channel Channel { get; }

    public ChannelCounters Counters
    {
        get
        {
            ChannelCounters counters = default;
            Assert.True(Channel.ReadCounters(ref counters));
            return counters;
        }
    }

    public T Own<T>(T resource)
        where T : IDisposable
    {
        _owned.Add(resource);
        return resource;
    }

    /// <summary>A listener of the kind, registered and accepting; its handle.</summary>
    public long Listen(SocketKind kind, out Socket listener, AcceptFlags flags = AcceptFlags.Keep, int count = 4)
    {
        listener = Own(kind.Listen());
        long handle = Track(Channel.Register((int)listener.Handle, 1));
        Assert.Equal(0, Channel.Accept(handle, count, flags));
        return handle;
    }

    /// <summary>A connected pair: the channel's handle and the client's socket.</summary>
    public long Connection(SocketKind kind, out Socket client, AcceptFlags flags = AcceptFlags.Keep)
    {
        Listen(kind, out Socket listener, flags);
        return Connection(listener, out client);
    }

    public long Connection(Socket listener, out Socket client)
    {
        Assert.True(Channel.Flush() >= 0);
        client = Own(SocketKind.ConnectTo(listener));
        ChannelEvent accepted = Next(Stage.Accept);
        Assert.True(accepted.Result >= 0, ChannelError.Text(accepted.Result));
        return accepted.Handle;
    }

    public long Track(long handle)
    {
        Assert.True(handle > 0, handle < 0 ? ChannelError.Text((int)handle) : "no handle");
        _handles.Add(handle);
        return handle;
    }

    /// <summary>The next event, which must be of the stage.</summary>
    public ChannelEvent Next(Stage stage)
    {
        ChannelEvent next = Next();
        Assert.True(next.Stage == stage, $"expected {stage}: {next}");
        return next;
    }

    /// <summary>The next event of the stage; others wait for their turn.</summary>
    public ChannelEvent Await(Stage stage)
    {
        for (int i = 0; i < 10_000; i++)
        {
            ChannelEvent next = Next();
            if (next.Stage == stage)
            {
                return next;
            }

            _waiting.Enqueue(next);
        }

        throw new InvalidOperationException($"no {stage} event");
    }

    public ChannelEvent Next()
    {
        long start = Stopwatch.GetTimestamp();
        while (Stopwatch.GetElapsedTime(start) < Patience)
        {
            if (_waiting.TryDequeue(out ChannelEvent next))
            {
                return next;
            }

            Poll(100_000_000);
        }

        throw new TimeoutException("no event came");
    }

    /// <summary>Takes what is there into the waiting events.</summary>
    public void Poll(long timeoutNanoseconds)
    {
        int count = Channel.Dispatch(_events, timeoutNanoseconds);
        Assert.True(count >= 0, ChannelError.Text(count));
        foreach (ChannelEvent next in _events.AsSpan(0, count))
        {
            if (next.Stage == Stage.Accept && next.Result >= 0)
            {
                _handles.Add(next.Handle);
            }
            else if (next.IsRetired)
            {
                _handles.Remove(next.Handle);
            }

            _waiting.Enqueue(next);
        }
    }

    /// <summary>Reads exactly so many bytes as leases, and gives them back.</summary>
    public byte[] ReadLeased(int bytes)
    {
        MemoryStream all = new();
        while (all.Length < bytes)
        {
            ChannelEvent read = Next(Stage.Read);
            Assert.True(read.Result > 0, read.ToString());
            Assert.True(read.IsLeased, read.ToString());
            all.Write(Channel.LeaseMemory(read).Span);
            Assert.Equal(0, Channel.Release(read.Lease));
        }

        Assert.Equal(bytes, all.Length);
        return all.ToArray();
    }

    /// <summary>Closes and takes events until the handle is retired, giving leases back.</summary>
    public void Close(long handle, bool abort = false)
    {
        Assert.Equal(0, Channel.Close(handle, abort));
        ChannelEvent next;
        do
        {
            next = Next();
            ReleaseLease(next);
        }
        while (!(next.IsRetired && next.Handle == handle));
    }

    public void Dispose()
    {
        RetireAll();
        ChannelCounters counters = Counters;
        Assert.Equal(0ul, counters.LeasesOut);
        Assert.Equal(0ul, counters.InFlight);
        Assert.Equal(0ul, counters.HandlesLive);
        Assert.Equal(0ul, counters.CqOverflows);
        Channel.Dispose();
        foreach (IDisposable owned in _owned)
        {
            owned.Dispose();
        }

        // The kernel closes an io_uring's last references in the background.
        Assert.True(SpinWait.SpinUntil(() => OpenFds.Count() <= _fdsBefore, Patience),
            $"{OpenFds.Count()} fds are open, {_fdsBefore} were before: {OpenFds.Describe()}");
    }

    private void RetireAll()
    {
        foreach (long handle in _handles)
        {
            // Some are being closed already.
            Channel.Unregister(handle);
        }

        long start = Stopwatch.GetTimestamp();
        while (_handles.Count > 0 || _waiting.Count > 0)
        {
            Assert.True(Stopwatch.GetElapsedTime(start) < Patience, $"{_handles.Count} handles were not retired");
            if (_waiting.TryDequeue(out ChannelEvent next))
            {
                ReleaseLease(next);
                if (next.Stage == Stage.Accept && _handles.Contains(next.Handle))
                {
                    Channel.Unregister(next.Handle);
                }
            }
            else
            {
                Poll(10_000_000);
            }
        }
    }

    private void ReleaseLease(in ChannelEvent next)
    {
        if (next.IsLeased)
        {
            Assert.Equal(0, Channel.Release(next.Lease));
        }
    }
}
