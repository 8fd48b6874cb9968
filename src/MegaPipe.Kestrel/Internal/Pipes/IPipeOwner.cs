// What the two pipe ends ask of the connection that they belong to.
using System.Buffers;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

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

    /// <summary>Any thread: the application has, or will not take, what had arrived.</summary>
    void OnInputTaken();

    /// <summary>The carrier: the application has too much unread.</summary>
    void PauseReading();

    /// <summary>The carrier: data has come, and the application has completed its reader.</summary>
    void StopReading();

    /// <summary>The carrier: the read that is armed ends, and one of another kind takes its place.</summary>
    void RenewReading();

    /// <summary>
    /// The carrier: a read has brought what it was made for, and none is armed. <paramref name="more"/>: the socket
    /// holds data, which the application may ask for in a moment.
    /// </summary>
    void OnReadRests(bool more);

    /// <summary>The carrier: a read brings no more data, or the peer has ended the connection during a pause.</summary>
    void OnReadEnd(in ChannelEvent channelEvent);

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

    /// <summary>Unread data fell below half of the limit: reading goes on.</summary>
    Resume = 2,

    /// <summary>A read that has its result is to complete on the carrier.</summary>
    CompleteRead = 4,

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

    /// <summary>It is to move to another channel, if nothing of it is under way.</summary>
    Move = 256,

    /// <summary>Somebody waits for its socket.</summary>
    Install = 512,

    /// <summary>The application has memory for what the socket holds.</summary>
    Receive = 2_048,

    /// <summary>Unless the application has asked for what the socket holds, a read is armed.</summary>
    ReadOn = 4_096,

    /// <summary>
    /// No ask, but the reason why nobody posts one: the connection is between two channels. What is asked meanwhile
    /// stays in the word, for the carrier that gets it.
    /// </summary>
    Away = 1_024,
}
