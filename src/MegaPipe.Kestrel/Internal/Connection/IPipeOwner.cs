// What the two pipe ends ask of the connection that they belong to.
using System.Buffers;

namespace MegaPipe.Kestrel.Internal;

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
