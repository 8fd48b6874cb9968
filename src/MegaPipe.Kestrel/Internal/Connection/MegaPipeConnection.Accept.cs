// Stage accept: the connection joins its channel.
namespace MegaPipe.Kestrel.Internal;

internal sealed partial class MegaPipeConnection
{
    /// <summary>The carrier, at the accept event: reading starts in the same batch.</summary>
    public void Start()
    {
        Channel.Add(this);
        Channel.AcceptedCount++;
        StartReceiving();
    }
}
