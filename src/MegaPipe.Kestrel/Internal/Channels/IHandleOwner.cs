// What a channel knows of connections and listeners: whose the events of a handle are.
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Channels;

/// <summary>The owner of a handle of a channel, from <see cref="TransportChannel.Add"/> to its last event.</summary>
internal interface IHandleOwner
{
    long Handle { get; }

    /// <summary>
    /// The carrier: an event of the handle, but for those of reads; of an accept, the listener is told. No application
    /// code runs in here. After the one that says that the handle is retired no other comes.
    /// </summary>
    void OnEvent(in ChannelEvent channelEvent);

    /// <summary>The carrier: <see cref="OnEvent"/> or something else done for the owner threw this.</summary>
    void Fail(Exception error);
}

/// <summary>Who takes the data of a handle: its read events do not go to its owner.</summary>
internal interface IReceiver
{
    /// <summary>The carrier: a read event of the handle. No application code runs in here.</summary>
    void OnRead(in ChannelEvent channelEvent);
}
