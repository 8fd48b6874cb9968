// Stage accept: the connection joins its channel, accepted, connected or given.
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Connections;

internal sealed partial class MegaPipeConnection
{
    /// <summary>
    /// How long a client that has connected may take to ask, with a handshake and all. Tests shorten it for clients
    /// that never do.
    /// </summary>
    public static TimeSpan AsksWithin { get; set; } = TimeSpan.FromSeconds(1);

    // Its socket was connected by somebody else: closed with the handle, so that the peer gets its end.
    private readonly bool _isGiven;

    /// <summary>The carrier, at the accept event: reading starts in the same batch.</summary>
    public void Start()
    {
        Channel.Add(this, _input);
        Channel.AcceptedCount++;
        _counts.Accepted++;
        Count(1);
        _input.Opening.Begin(Environment.TickCount64);
        _movable = true;
        StartReading();
    }

    /// <summary>
    /// The carrier: whether the client has connected a moment ago and the application has not read its request, which
    /// may still be under way.
    /// </summary>
    public bool IsAboutToAsk(EndpointContext endpoint) =>
        ReferenceEquals(endpoint, _endpoint) && _input.Pressure.Flow != ReadFlow.Ended && !_closing &&
        _input.Opening.MayAsk(Environment.TickCount64, endpoint.SilenceMs, (int)AsksWithin.TotalMilliseconds,
            _input.HasTaken, _input.HasFresh);

    /// <summary>The carrier, after a write to a client whose answer it may be the first of.</summary>
    private void NoteAnswer()
    {
        if (_input.Opening.SilentMs is >= 0 and { } silence && silence < AsksWithin.TotalMilliseconds)
        {
            _endpoint.NoteSilence(silence);
        }

        _input.Opening.OnSent();
    }

    /// <summary>
    /// The carrier, when a connect has ended well: takes the handle over from who has made it. Reading starts in the
    /// same batch.
    /// </summary>
    public void StartConnected(IHandleOwner maker)
    {
        Channel.Replace(maker, this, _input);
        Channel.ConnectedCount++;
        Count(1);
        StartReading();
    }

    /// <summary>The carrier: it joins or leaves.</summary>
    private void Count(int change)
    {
        Channel.ConnectionCount += change;
        _counts.Active += change;
    }

    /// <summary>
    /// The carrier: a socket that was given. false when it cannot be taken, and the connection has ended.
    /// </summary>
    private bool Join()
    {
        long handle;
        try
        {
            handle = Channel.Native.RegisterCopy((int)_socket!.SafeHandle.DangerousGetHandle(), 0);
        }
        catch (ObjectDisposedException)
        {
            handle = ChannelError.BadHandle;
        }

        if (handle >= 0)
        {
            Handle = handle;
            Channel.Add(this, _input);
            Count(1);
            StartReading();
            return true;
        }

        EndWithoutHandle(ChannelError.ToException((int)handle, "Taking a connected socket"));
        return false;
    }

    /// <summary>The carrier: the channel has no handle for it.</summary>
    private void EndWithoutHandle(Exception error)
    {
        _closing = true;
        _input.Pressure.Close();
        TrySetReason(error, abort: !_endpoint.FinOnError);
        EndSending();
        OnRetired();
    }
}
