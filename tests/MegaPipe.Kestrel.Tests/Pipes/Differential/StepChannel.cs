// A channel that nobody carries: the test's thread is its carrier, one step at a time, so every outcome is determined.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Tests.Pipes.Differential;

/// <summary>A real ring with real leases, whose data the test sends through a socket of its own.</summary>
internal sealed class StepChannel : IDisposable
{
    private static readonly TimeSpan s_limit = InTimeExtensions.Limit;

    private readonly Channel _native;
    private readonly ChannelEvent[] _events = Channel.AllocateEvents(16);
    private readonly Socket _near;
    private readonly Socket _far;
    private readonly long _handle;
    private ulong _held;

    public StepChannel(uint buffers, uint bufferBytes, MegaPipeScheduling scheduling)
    {
        BufferBytes = (int)bufferBytes;
        Scheduling = new ChannelScheduling(new MegaPipeTransportOptions { Scheduling = scheduling }, channels: 1);
        _native = Channel.Create(
            new ChannelConfig { MaxHandles = 4, BufferCount = buffers, BufferBytes = bufferBytes });
        Carried = new TransportChannel(0, _native, Scheduling, new MegaPipeTransportOptions(), cpu: -1);
        // A Unix socket: the kernel delivers what one send gave as one piece.
        using Socket listener = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        UnixDomainSocketEndPoint name = new($"\0megapipe-{Guid.NewGuid():N}");
        listener.Bind(name);
        listener.Listen();
        _far = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        _far.Connect(name);
        _near = listener.Accept();
        _handle = _native.Register((int)_near.SafeHandle.DangerousGetHandle(), cookie: 0);
        Assert.True(_handle > 0);
        Assert.Equal(0, _native.ReadStart(_handle));
    }

    public int BufferBytes { get; }

    public ChannelScheduling Scheduling { get; }

    public TransportChannel Carried { get; }

    /// <summary>Leases out but for those that are held.</summary>
    public ulong LeasesOut
    {
        get
        {
            ChannelCounters counters = default;
            Assert.True(_native.ReadCounters(ref counters));
            return counters.LeasesOut - _held;
        }
    }

    /// <summary>Keeps leases as other connections would: from half of them on, every further one is scarce.</summary>
    public void Hold(uint leases)
    {
        for (; _held < leases; _held++)
        {
            Carried.Leases.Take(in Receive([0]));
        }
    }

    /// <summary>The event of a lease with these bytes, from the kernel.</summary>
    public ref readonly ChannelEvent Receive(ReadOnlySpan<byte> bytes)
    {
        Carried.Leases.HandBack();
        int left = bytes.Length;
        Assert.Equal(left, _far.Send(bytes));
        for (long deadline = Environment.TickCount64 + (long)s_limit.TotalMilliseconds;
             Environment.TickCount64 < deadline;)
        {
            int count = _native.Dispatch(_events, 1_000_000_000);
            for (int i = 0; i < count; i++)
            {
                if (!_events[i].IsLeased)
                {
                    continue;
                }

                if (_events[i].Result == bytes.Length)
                {
                    return ref _events[i];
                }

                // The end of a run has cut it: it is thrown away, and sent again into the next run.
                Assert.InRange(_events[i].Result, 1, left);
                left -= _events[i].Result;
                Assert.Equal(0, _native.Release(_events[i].Lease));
                if (left == 0)
                {
                    left = bytes.Length;
                    Assert.Equal(left, _far.Send(bytes));
                }
            }
        }

        throw Xunit.Sdk.FailException.ForFailure("The piece never arrived.");
    }

    /// <summary>The carrier's turn, without its dispatch: continuations run, leases go back.</summary>
    public void Turn()
    {
        Assert.True(Carried.RunReady(0));
        Carried.Leases.HandBack();
    }

    public void Dispose()
    {
        _native.Dispose();
        _near.Dispose();
        _far.Dispose();
    }
}

/// <summary>A connection as far as its pipe ends know one; keeps what they ask.</summary>
internal sealed class StepOwner(StepChannel channel, TrackingMemoryPoolFactory memory) : IPipeOwner
{
    public TransportChannel Channel => channel.Carried;

    public System.Buffers.MemoryPool<byte> MemoryPool { get; } = memory.Create();

    public ConnectionAsks Asked { get; set; }

    public bool ReadingStopped { get; private set; }

    public Exception? OutputError { get; private set; }

    public void Ask(ConnectionAsks asks) => Asked |= asks;

    public void OnInputTaken()
    {
    }

    public void PauseReading() => throw Xunit.Sdk.FailException.ForFailure("There is no limit.");

    public void StopReading() => ReadingStopped = true;

    public void RenewReading() => throw Xunit.Sdk.FailException.ForFailure("Nobody reads into memory of his own.");

    public void OnReadRests(bool more) => RenewReading();

    public void OnReadEnd(in ChannelEvent channelEvent) =>
        throw Xunit.Sdk.FailException.ForFailure("The socket is not closed.");

    public void OnOutputCompleted(Exception? exception) => OutputError = exception;
}
