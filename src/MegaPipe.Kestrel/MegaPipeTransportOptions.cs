// Inert data: what a user may tune. Bound from the "MegaPipe" section, checked by OptionsValidator (OptionsSetup.cs).
// Each default and each limit is written here and nowhere else in the code.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Configuration;
using MegaPipe.Native;

namespace MegaPipe.Kestrel;

/// <summary>Whether accepted sockets live outside the process's fd table (the paper's lwsocket, §3.3).</summary>
public enum LightweightSockets
{
    /// <summary>
    /// Lightweight where nothing that Kestrel reads needs an fd (endpoints bound to one address) and the kernel
    /// releases closed ones at once (Linux 6.13 or newer).
    /// </summary>
    Auto,

    /// <summary>Always lightweight; on a wildcard bind <c>LocalEndPoint</c> is the listener's address.</summary>
    Always,

    /// <summary>Ordinary sockets.</summary>
    Never,
}

/// <summary>Where continuations (the reads and flushes that Kestrel awaits) run.</summary>
public enum MegaPipeScheduling
{
    /// <summary>On the channel's carrier; long work is offloaded, stuck work loses the channel.</summary>
    Adaptive,

    /// <summary>On the thread pool, as the stock transport does.</summary>
    ThreadPool,

    /// <summary>On the channel's carrier, without guards: a blocking handler stops its channel.</summary>
    Inline,
}

/// <summary>What waiting is to save: time, CPU, or neither at the other's cost.</summary>
public enum MegaPipeProfile
{
    /// <summary>A channel without work sleeps at once, until there is some.</summary>
    Balanced,

    /// <summary>
    /// It first waits awake, for 100 µs at most, while events have come shortly one after the other and a CPU is idle;
    /// never where the process has one CPU or a quota of CPU time.
    /// </summary>
    Latency,

    /// <summary>
    /// It sleeps at once, whatever else the default may come to do. The same as <see cref="Balanced"/>: nothing that
    /// was tried takes less CPU.
    /// </summary>
    Efficiency,
}

/// <summary>What to do where io_uring cannot be used.</summary>
public enum MegaPipeFallback
{
    /// <summary>Serve with the stock Sockets transport, after one warning.</summary>
    Sockets,

    /// <summary>Fail at bind, with the failed check and the remedy in the message.</summary>
    Fail,
}

/// <summary>Options that the stock transport has under the same name.</summary>
[Flags]
internal enum Shared
{
    None = 0,
    NoDelay = 1,
    Backlog = 2,
    MaxReadBufferSize = 4,
    MaxWriteBufferSize = 8,
    FinOnError = 16,
}

/// <summary>How the kernel picks the listener partition for a new connection.</summary>
public enum MegaPipeSteering
{
    /// <summary>
    /// Balanced where an endpoint has a queue per channel and its address to itself, otherwise Hash. The log says
    /// which, and why.
    /// </summary>
    Auto,

    /// <summary>By the kernel's hash of addresses and ports (SO_REUSEPORT).</summary>
    Hash,

    /// <summary>
    /// By the CPU that received the packet: the channel that is bound to it. Without <c>CpuSet</c> CPUs are divided
    /// among the channels in turn.
    /// </summary>
    Cpu,

    /// <summary>
    /// By a table of flow groups: the kernel hashes a connection into a group, the table says which channel serves it.
    /// It follows the load: groups of a channel with more work than others go to those, a channel that is stuck gets
    /// nothing new, and a busy one has others serve what it accepts.
    /// </summary>
    Balanced,
}

/// <summary>How the source port of an outgoing TCP connection is chosen.</summary>
public enum MegaPipeSourcePorts
{
    /// <summary>The kernel picks any.</summary>
    Any,

    /// <summary>
    /// Its lowest bits are the channel's number (Fastsocket's Receive Flow Deliver), for networks that steer replies by
    /// their destination port; any port where none of these is free. Such connections are ordinary sockets.
    /// </summary>
    PerChannel,
}

/// <summary>Options of the MegaPipe transport; configuration section <c>MegaPipe</c>.</summary>
public sealed class MegaPipeTransportOptions
{
    /// <summary>The configuration section that is bound: <c>MegaPipe</c>.</summary>
    public const string SectionName = "MegaPipe";

    /// <summary>Number of channels. Default null: one per processor that this process may use. 1 to 1,024.</summary>
    [Number(1, 1_024, Unset = "one per processor")]
    public int? Channels { get; set; }

    /// <summary>
    /// CPUs that carriers are pinned to, as a list: "0-3,8". Default null: not pinned.
    /// </summary>
    [Cpus(Unset = "not pinned")]
    public string? CpuSet { get; set; }

    /// <summary>Handles (listeners and connections) per channel. Default 65,536. 64 to 1,048,576.</summary>
    [Number(64, 1_048_576)]
    public int MaxHandlesPerChannel { get; set; } = 65_536;

    /// <summary>Receive buffers per channel. Default 1,024. 8 to 32,768, a power of two.</summary>
    [Number(8, 32_768, PowerOfTwo = true)]
    public int ReceiveBufferCount { get; set; } = 1_024;

    /// <summary>Bytes per receive buffer. Default 4,096. 256 to 1,048,576.</summary>
    [Number(256, 1_048_576)]
    public int ReceiveBufferSize { get; set; } = 4_096;

    /// <summary>
    /// Requests to the kernel after which a batch is given to it, even while more work is waiting (paper §4.1).
    /// Default 128. 1 to 1,024. 1 turns batching off.
    /// </summary>
    [Number(1, 1_024)]
    public int BatchThreshold { get; set; } = 128;

    /// <summary>Length of each listener partition's accept queue. Default 512, as stock. 1 to 65,535.</summary>
    [Number(1, 65_535)]
    public int Backlog { get; set { field = value; Given |= Shared.Backlog; } } = 512;

    /// <summary>
    /// How long the kernel holds a TCP connection back whose client has sent nothing (whole seconds, rounded up to its
    /// own steps). Saves a wait for each new connection. Not for protocols in which the server speaks first. Default
    /// null: not at all. 1 s to 60 s.
    /// </summary>
    [Time("00:00:01", "00:01:00", Unset = "not at all")]
    public TimeSpan? DeferAccept { get; set; }

    /// <summary>Disables Nagle's algorithm. Default true, as stock.</summary>
    public bool NoDelay { get; set { field = value; Given |= Shared.NoDelay; } } = true;

    /// <summary>
    /// Received bytes that a connection may hold unread before reading pauses; it resumes below half.
    /// Default 1,048,576, as stock. 0 or null: unlimited.
    /// </summary>
    [Number(0, long.MaxValue, Unset = "unlimited")]
    public long? MaxReadBufferSize { get; set { field = value; Given |= Shared.MaxReadBufferSize; } } = 1024 * 1024;

    /// <summary>
    /// Written bytes that a connection may hold unsent before a flush waits; it goes on below half.
    /// Default 65,536, as stock. 0 or null: unlimited.
    /// </summary>
    [Number(0, long.MaxValue, Unset = "unlimited")]
    public long? MaxWriteBufferSize { get; set { field = value; Given |= Shared.MaxWriteBufferSize; } } = 64 * 1024;

    /// <summary>
    /// Bytes of one write to the socket from which on the kernel is asked to send them without copying (Linux 6.2,
    /// TCP). Default 0: never. The memory stays in use until the peer has acknowledged it. 0 to 1,073,741,824.
    /// </summary>
    [Number(0, 1 << 30)]
    public int ZeroCopyThreshold { get; set; }

    /// <summary>Accept lightweight sockets. Default Auto.</summary>
    public LightweightSockets LightweightSockets { get; set; } = LightweightSockets.Auto;

    /// <summary>What waiting is to save: time or CPU. Default Balanced.</summary>
    public MegaPipeProfile Profile { get; set; } = MegaPipeProfile.Balanced;

    /// <summary>
    /// How long a channel without work polls the network cards of its connections before it sleeps (Linux 6.9), which
    /// takes a CPU meanwhile. Loopback and veth have nothing to poll. Default 0 µs: not at all. 0 µs to 10 ms.
    /// </summary>
    [Time("00:00:00", "00:00:00.01")]
    public TimeSpan BusyPoll { get; set; }

    /// <summary>Where continuations run. Default Adaptive.</summary>
    public MegaPipeScheduling Scheduling { get; set; } = MegaPipeScheduling.Adaptive;

    /// <summary>
    /// Adaptive only: average time of a connection's continuations above which they go to the thread pool
    /// while a core is idle.
    /// Default 100 µs. 1 µs to 1 s.
    /// </summary>
    [Time("00:00:00.000001", "00:00:01")]
    public TimeSpan InlineBudget { get; set; } = TimeSpan.FromMicroseconds(100);

    /// <summary>
    /// Adaptive only: time in one continuation after which the channel goes to another carrier.
    /// Default 2 ms. 100 µs to 10 s.
    /// </summary>
    [Time("00:00:00.0001", "00:00:10")]
    public TimeSpan HandOverAfter { get; set; } = TimeSpan.FromMilliseconds(2);

    /// <summary>Adaptive only: carriers, spare ones included, in this process. Default 256. 2 to 4,096.</summary>
    [Number(2, 4_096)]
    public int MaxCarriers { get; set; } = 256;

    /// <summary>
    /// Adaptive only: threads up to which a thread pool that is stuck (every thread blocked, work waiting) is made to
    /// grow at once. Default 1,024. 0 leaves the pool alone. 0 to 32,767.
    /// </summary>
    [Number(0, 32_767)]
    public int MaxPoolThreads { get; set; } = 1_024;

    /// <summary>
    /// Names the endpoints whose requests keep the transport's threads: in <c>MegaPipeStatus.GetBlocked()</c>, in
    /// warnings, in the meter. Default true. Costs an HTTP/1.1 request that is served inline some nanoseconds.
    /// </summary>
    public bool ReportBlocking { get; set; } = true;

    /// <summary>How the kernel picks the partition for a connection. Default Auto.</summary>
    public MegaPipeSteering Steering { get; set; } = MegaPipeSteering.Auto;

    /// <summary>
    /// Balanced steering only: a channel that has work of its own takes one new connection of a busy channel for each
    /// so many that it accepts itself; an idle one takes what it gets. Default 5. 0: none are taken. 0 to 1,000.
    /// </summary>
    [Number(0, 1_000)]
    public int LocalPerStolen { get; set; } = 5;

    /// <summary>
    /// Balanced steering only: flow groups go from channels with more work to those with less. Default true.
    /// </summary>
    public bool MigrateFlowGroups { get; set; } = true;

    /// <summary>
    /// Balanced steering only: a connection that waits for its client goes to a channel with less work, if its own has
    /// much more than the others. Default false: a connection stays on its channel.
    /// </summary>
    public bool MigrateConnections { get; set; }

    /// <summary>How the source port of an outgoing TCP connection is chosen. Default Any.</summary>
    public MegaPipeSourcePorts SourcePorts { get; set; } = MegaPipeSourcePorts.Any;

    /// <summary>What happens where io_uring cannot be used. Default Sockets.</summary>
    public MegaPipeFallback Fallback { get; set; } = MegaPipeFallback.Sockets;

    /// <summary>
    /// Ends aborted connections with FIN instead of RST. Default false, as stock
    /// (AppContext switch <c>Microsoft.AspNetCore.Server.Kestrel.FinOnError</c> sets the default).
    /// </summary>
    public bool FinOnError { get; set { field = value; Given |= Shared.FinOnError; } } =
        AppContext.TryGetSwitch("Microsoft.AspNetCore.Server.Kestrel.FinOnError", out bool finOnError) && finOnError;

    /// <summary>
    /// Lets other processes of the same user listen on the same address at the same time (SO_REUSEPORT, on Linux).
    /// Default false: a second listener gets "address already in use". A handle, and a socket that
    /// <see cref="CreateBoundListenSocket"/> makes, share their address if they were bound so.
    /// </summary>
    public bool ShareAddress { get; set; }

    /// <summary>
    /// Where processes meet of which one takes the other's listeners over: the path of a Unix socket, or a name in the
    /// network namespace behind an @. A process that finds another one there gets its listening sockets, with what they
    /// have queued, for the same endpoints; when it has started, the other one stops. Default null: none.
    /// </summary>
    [Place(Unset = "none")]
    public string? Takeover { get; set; }

    /// <summary>Sends TCP keep-alive probes. Default false.</summary>
    public bool KeepAlive { get; set; }

    /// <summary>
    /// Idle time before the first probe (whole seconds). Default null: the system's. 1 s to 32,767 s.
    /// </summary>
    [Time("00:00:01", "09:06:07", Unset = "the system's")]
    public TimeSpan? KeepAliveTime { get; set; }

    /// <summary>Time between probes (whole seconds). Default null: the system's. 1 s to 32,767 s.</summary>
    [Time("00:00:01", "09:06:07", Unset = "the system's")]
    public TimeSpan? KeepAliveInterval { get; set; }

    /// <summary>Unanswered probes before the connection is dropped. Default null: the system's. 1 to 127.</summary>
    [Number(1, 127, Unset = "the system's")]
    public int? KeepAliveRetryCount { get; set; }

    /// <summary>
    /// Creates and binds the listening socket for an endpoint, as
    /// <c>SocketTransportOptions.CreateBoundListenSocket</c> does; called for handle endpoints too. Default: null,
    /// the transport's own. The transport owns the returned socket.
    /// </summary>
    public Func<EndPoint, Socket>? CreateBoundListenSocket { get; set; }

    /// <summary>
    /// Which of the options that the stock transport has, too, were given a value. After a fallback these win over
    /// the stock transport's own; the others leave it as the application configured it.
    /// </summary>
    internal Shared Given { get; private set; }

    /// <summary>Acts as if MegaPipe could not be used, for this reason; for the tests of the fallback.</summary>
    internal string? DeniedFor { get; set; }

    /// <summary>
    /// Flow groups go by what a client can foresee, its address and port, for measurements with an unkind client.
    /// </summary>
    internal bool SteeredByAddress { get; set; }

    /// <summary>
    /// Every accepted connection is asked to move at each look, for the tests of what a move may meet.
    /// </summary>
    internal bool MovesAtEachLook { get; set; }

    /// <summary>
    /// Large writes are sent without a copy although loopback copies them, for the tests of what may meet them.
    /// </summary>
    internal bool ZeroCopyAlways { get; set; }

    /// <summary>Acts as if the kernel took no steering program, for the tests of the weaker modes.</summary>
    internal bool SteeringRefused { get; set; }

    /// <summary>Acts as if the kernel lacked something, for the tests of the degraded modes.</summary>
    internal ChannelConfigFlags DegradedMode { get; set; }
}
