// The managed mirror of struct mp_counters. Names are the header's, so that a counter is found by one word everywhere.
using System.Runtime.InteropServices;

namespace MegaPipe.Native;

/// <summary>What a channel did since it was created. Each value is exact; together they are no snapshot.</summary>
[StructLayout(LayoutKind.Sequential)]
internal struct ChannelCounters
{
    /// <summary>io_uring_enter calls.</summary>
    public ulong SystemCalls;

    /// <summary>Requests given to the kernel.</summary>
    public ulong Requests;

    /// <summary>Events returned by dispatch.</summary>
    public ulong Events;

    /// <summary>Dispatches that returned at least one event.</summary>
    public ulong Dispatches;

    /// <summary>io_uring_enter calls that could sleep.</summary>
    public ulong Waits;

    /// <summary>Wakes that needed a system call.</summary>
    public ulong Wakes;

    /// <summary>Connections accepted.</summary>
    public ulong Accepted;

    /// <summary>Leased reads that found no free buffer.</summary>
    public ulong BuffersStarved;

    /// <summary>Overflows of the completion queue: a defect signal.</summary>
    public ulong CqOverflows;

    /// <summary>Completions of retired handles, dropped.</summary>
    public ulong StaleEvents;

    /// <summary>Leased reads that the kernel had ended and the channel armed again.</summary>
    public ulong Rearms;

    /// <summary>Ends that a leased read had missed and a poll for them found.</summary>
    public ulong EndsFound;

    /// <summary>Writes that the kernel did in part and the channel went on with.</summary>
    public ulong ShortWrites;

    /// <summary>Connections given to other channels.</summary>
    public ulong Transfers;

    /// <summary>Receive buffers that the caller holds now.</summary>
    public ulong LeasesOut;

    /// <summary>Handles in use now.</summary>
    public ulong HandlesLive;

    /// <summary>Requests queued or in the kernel now, without the channel's own.</summary>
    public ulong InFlight;
}
