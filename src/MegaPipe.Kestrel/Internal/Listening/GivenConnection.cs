// A connection between the channel that accepted it and the one that is to have it.
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>Owns its handle on the channel that accepted it, until the kernel says that it has gone.</summary>
internal sealed class GivenConnection(ListenerPartition from, TransportChannel target, long handle) : IHandleOwner
{
    public long Handle => handle;

    public TransportChannel Target => target;

    public void OnEvent(in ChannelEvent channelEvent)
    {
        if (channelEvent.Stage == Stage.Close && channelEvent.IsGiven && !channelEvent.IsRetired)
        {
            from.TakeBack(this);
        }
    }

    public void Fail(Exception error) => from.Fail(error);
}
