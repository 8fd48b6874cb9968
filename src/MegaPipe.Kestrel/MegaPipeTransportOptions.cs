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
    /// <summary>By a hash of addresses and ports (SO_REUSEPORT).</summary>
    Hash,

    /// <summary>By the CPU that received the packet (SO_INCOMING_CPU, Linux 6.2); needs one channel per CPU.</summary>
    Cpu,
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
    /// Requests after which a batch is given to the kernel, even while more work is waiting (paper §4.1). A
    /// continuation counts as one request while continuations run. Default 128. 1 to 1,024. 1 turns batching off.
    /// </summary>
    [Number(1, 1_024)]
    public int BatchThreshold { get; set; } = 128;

    /// <summary>Length of each listener partition's accept queue. Default 512, as stock. 1 to 65,535.</summary>
    [Number(1, 65_535)]
    public int Backlog { get; set { field = value; Given |= Shared.Backlog; } } = 512;

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

    /// <summary>Accept lightweight sockets. Default Auto.</summary>
    public LightweightSockets LightweightSockets { get; set; } = LightweightSockets.Auto;

    /// <summary>Where continuations run. Default Adaptive.</summary>
    public MegaPipeScheduling Scheduling { get; set; } = MegaPipeScheduling.Adaptive;

    /// <summary>
    /// Adaptive only: average time of a connection's continuations above which they go to the thread pool.
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

    /// <summary>How the kernel picks the partition for a connection. Default Hash.</summary>
    public MegaPipeSteering Steering { get; set; } = MegaPipeSteering.Hash;

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
    /// <see cref="CreateBoundListenSocket"/> makes, share their address if whoever made them has said so.
    /// </summary>
    public bool ShareAddress { get; set; }

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

    /// <summary>Acts as if the kernel lacked something, for the tests of the degraded modes.</summary>
    internal ChannelConfigFlags DegradedMode { get; set; }
}
