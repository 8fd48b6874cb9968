// Who keeps the transport's threads, as MegaPipeStatus.GetBlocked tells it.
namespace MegaPipe.Kestrel;

/// <summary>What a thread was doing when it had to be replaced, as far as the kernel knows.</summary>
public enum MegaPipeBlockingCause
{
    /// <summary>Not known: it was over before anybody looked, or the system does not tell.</summary>
    Unknown,

    /// <summary>
    /// It waited for another thread or for a time: <c>.Result</c>, <c>.Wait()</c>, <c>lock</c>, <c>Thread.Sleep</c>.
    /// </summary>
    Wait,

    /// <summary>It waited in another call of the system: a file, a socket, a database, without <c>await</c>.</summary>
    SynchronousIO,

    /// <summary>It computed, or waited for a CPU.</summary>
    Computing,
}

/// <summary>An endpoint of the application whose requests have kept a thread for too long.</summary>
/// <param name="Title">Method and route, such as <c>GET /orders/{id}</c>, or what is known instead.</param>
/// <param name="Protocol">Of the request, such as <c>HTTP/1.1</c>; without a request of the connection.</param>
/// <param name="Method">HTTP method, <c>_OTHER</c> for an unknown one; null without a request.</param>
/// <param name="Route">The route's pattern; null where no route was matched.</param>
/// <param name="Name">The endpoint's or the activity's display name; otherwise the connection's local endpoint.</param>
public sealed record MegaPipeBlockedEndpoint(
    string Title, string Protocol, string? Method, string? Route, string Name)
{
    /// <summary>Times that it kept a thread, those of <see cref="OnPool"/> included.</summary>
    public long Count { get; init; }

    /// <summary>Times that it kept a thread of the pool: the channel had offloaded the connection before.</summary>
    public long OnPool { get; init; }

    /// <summary>Hand-overs that it caused, by channel.</summary>
    public IReadOnlyDictionary<int, long> HandOversByChannel { get; init; } = new Dictionary<int, long>();

    /// <summary>Time for which it kept threads, those that are still stuck not included.</summary>
    public TimeSpan Total { get; init; }

    /// <summary>The longest time for which it kept one.</summary>
    public TimeSpan Worst { get; init; }

    /// <summary>Threads of channels that it keeps at this moment.</summary>
    public int StuckNow { get; init; }

    /// <summary>For how long the oldest of them has been stuck.</summary>
    public TimeSpan LongestNow { get; init; }

    /// <summary>
    /// Their numbers in the system, 0 for an unknown one: <c>dotnet-stack report</c> shows the stack of each.
    /// </summary>
    public IReadOnlyList<int> Threads { get; init; } = [];

    /// <summary>What the kernel found most of its threads doing.</summary>
    public MegaPipeBlockingCause Cause { get; init; }

    /// <summary>When it was counted last.</summary>
    public DateTimeOffset Last { get; init; }
}
