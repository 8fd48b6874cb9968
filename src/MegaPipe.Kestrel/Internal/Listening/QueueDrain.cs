// A channel that accepts from the queue of another one, which is hung.
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>
/// The helper's ring waits at the same listening socket as the hung one's, by a descriptor of its own. Everything here
/// is the helper's carrier's, but for the task.
/// </summary>
/// <param name="hung">The partition whose queue it is.</param>
/// <param name="helper">The same endpoint's partition on the helper.</param>
/// <param name="channel">The helper.</param>
internal sealed class QueueDrain(ListenerPartition hung, ListenerPartition helper, TransportChannel channel)
    : IHandleOwner
{
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private bool _stopped;

    public long Handle { get; private set; }

    public ListenerPartition Hung => hung;

    public TransportChannel Channel => channel;

    public Task Ended => _ended.Task;

    public void Start()
    {
        long handle = _stopped || channel.HasEnded ? ChannelError.Canceled : hung.RegisterCopy(channel);
        if (handle < 0)
        {
            _ended.TrySetResult(); // the queue has ended, or there is no descriptor left: the next look may find one
            return;
        }

        Handle = handle;
        channel.Add(this);
        channel.Native.Accept(handle, ListenerPartition.Outstanding, helper.Flags);
    }

    public void Stop()
    {
        if (_stopped)
        {
            return;
        }

        _stopped = true;
        if (Handle == 0)
        {
            _ended.TrySetResult();
        }
        else
        {
            channel.Native.Close(Handle); // the descriptor; the socket is the hung channel's, too
        }
    }

    public void OnEvent(in ChannelEvent channelEvent)
    {
        if (channelEvent.IsRetired)
        {
            _ended.TrySetResult();
            return;
        }

        if (channelEvent.Result >= 0)
        {
            helper.Adopt(channelEvent.Handle);
        }

        if (!channelEvent.HasMore && !_stopped)
        {
            _ = RetryAsync();
        }
    }

    private async Task RetryAsync()
    {
        await Task.Delay(ListenerPartition.RetryAfter).ConfigureAwait(false);
        channel.Post(_ =>
        {
            if (!_stopped)
            {
                channel.Native.Accept(Handle, 1, helper.Flags);
            }
        });
    }

    public void Fail(Exception error) => helper.Fail(error);
}
