// What the two pipe ends ask of the connection that they belong to.
using System.Buffers;
using MegaPipe.Kestrel.Internal.Channels;

namespace MegaPipe.Kestrel.Internal.Pipes;

/// <summary>
/// The connection as its reader and its writer know it. They know no more of it, so a test can own a pipe end and be
/// its carrier, step by step.
/// </summary>
internal interface IPipeOwner
{
    TransportChannel Channel { get; }

    MemoryPool<byte> MemoryPool { get; }

    /// <summary>Any thread: has the carrier do something for the connection.</summary>
    void Ask(ConnectionAsks asks);

    /// <summary>
    /// Any thread: whether an AdvanceTo that left <paramref name="unread"/> bytes should end a pause.
    /// </summary>
    bool ShouldResumeReading(long unread);

    /// <summary>Any thread: the application has completed its reader.</summary>
    void OnInputCompleted(bool resume);

    /// <summary>Any thread: the application has, or will not take, what had arrived.</summary>
    void OnInputTaken();

    /// <summary>Any thread: the application has completed its writer.</summary>
    void OnOutputCompleted(Exception? exception);
}

/// <summary>What any thread may ask of a connection's carrier. Bits of one word; asking twice is asking once.</summary>
[Flags]
internal enum ConnectionAsks
{
    None = 0,

    /// <summary>Flushed bytes wait.</summary>
    Send = 1,

    /// <summary>Unread data fell below half of the limit.</summary>
    ResumeReceiving = 2,

    /// <summary>A read that has its result is to complete on the carrier.</summary>
    ResumeRead = 4,

    /// <summary>The application completed its output: FIN once everything is sent.</summary>
    Finish = 8,

    /// <summary>Close now, with RST.</summary>
    Reset = 16,

    /// <summary>Close now, with FIN.</summary>
    Close = 32,

    /// <summary>The application has what came before the peer's FIN and can be told of it.</summary>
    TellEnd = 64,

    /// <summary>A socket that somebody else has connected joins the channel.</summary>
    Join = 128,
}
