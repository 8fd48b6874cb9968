// Back-pressure on what a connection receives: when its leased read pauses, resumes and ends.
namespace MegaPipe.Kestrel.Internal.Pipes;

/// <summary>Where the flow of received data is.</summary>
internal enum ReadFlow : byte
{
    /// <summary>No read is armed, and nothing keeps the carrier from arming one.</summary>
    Idle,

    /// <summary>A read is armed.</summary>
    Flowing,

    /// <summary>The application has too much unread. The read is canceled; its last event has not come.</summary>
    Pausing,

    /// <summary>As Pausing, but the application has read on: the carrier arms the read after its last event.</summary>
    Resuming,

    /// <summary>The application has too much unread, and no read is armed.</summary>
    Paused,

    /// <summary>As Paused, and the peer's FIN comes behind what is unread.</summary>
    PausedAtEnd,

    /// <summary>The connection is to move to another channel: the read is canceled, or was.</summary>
    Moving,

    /// <summary>The connection is closing: the read's last event is the end, whatever it says.</summary>
    Closing,

    /// <summary>Nothing comes any more.</summary>
    Ended,
}

/// <summary>
/// Pauses the flow at <paramref name="pauseAt"/> unread bytes and resumes it below half of them. It only decides; the
/// connection arms and cancels the read. The carrier alone changes it. A pause and an end it decides under the reader's
/// lock, where the application looks: so no read is missed that makes room while a pause is decided.
/// </summary>
internal struct BackPressure(long pauseAt)
{
    public ReadFlow Flow { get; private set; }

    private readonly bool IsPaused => Flow is ReadFlow.Pausing or ReadFlow.Paused or ReadFlow.PausedAtEnd;

    /// <summary>The carrier arms the read.</summary>
    public void Start() => Flow = ReadFlow.Flowing;

    /// <summary>The carrier: the armed read has ended by itself, and more may be read.</summary>
    public void Rest() => Flow = Flow == ReadFlow.Flowing ? ReadFlow.Idle : Flow;

    /// <summary>The carrier: true when it is to cancel the read and to arm another one after its last event.</summary>
    public bool TryRenew()
    {
        bool flows = Flow == ReadFlow.Flowing;
        Flow = flows ? ReadFlow.Resuming : Flow;
        return flows;
    }

    /// <summary>The carrier, before it arms a read: true when it is not to, because of what is unread.</summary>
    public bool TryHold(long unread)
    {
        if (unread < pauseAt || Flow != ReadFlow.Idle)
        {
            return false;
        }

        Flow = ReadFlow.Paused;
        return true;
    }

    /// <summary>The carrier, after data has come: true when it is to cancel the read.</summary>
    public bool TryPause(long unread)
    {
        if (unread < pauseAt || Flow != ReadFlow.Flowing)
        {
            return false;
        }

        Flow = ReadFlow.Pausing;
        return true;
    }

    /// <summary>
    /// Any thread, after the application has read: true when it is to ask the carrier for <see cref="TryResume"/>.
    /// </summary>
    public readonly bool ShouldResume(long unread) => IsPaused && unread < Math.Max(1, pauseAt / 2);

    /// <summary>
    /// The carrier: the pause is over, where there is one. <see cref="Flow"/> says what is left to do: arm the read
    /// (Idle), tell the end (PausedAtEnd), or wait for the read's last event (Resuming).
    /// </summary>
    public bool TryResume()
    {
        switch (Flow)
        {
            case ReadFlow.Pausing:
                Flow = ReadFlow.Resuming;
                return true;
            case ReadFlow.Paused:
                Flow = ReadFlow.Idle;
                return true;
            default:
                return Flow == ReadFlow.PausedAtEnd;
        }
    }

    /// <summary>
    /// The carrier: the read was canceled, or has come to the peer's FIN (<paramref name="atEnd"/>), and brings no
    /// more. A flow that was to pause is paused now, and one that was to resume is Idle; any other one ends.
    /// </summary>
    public ReadFlow Stop(bool atEnd)
    {
        switch (Flow)
        {
            case ReadFlow.Pausing:
                Flow = atEnd ? ReadFlow.PausedAtEnd : ReadFlow.Paused;
                break;
            case ReadFlow.Resuming when !atEnd:
                Flow = ReadFlow.Idle;
                break;
        }

        return Flow;
    }

    /// <summary>The carrier: true when it is to cancel the read, because the connection is to move.</summary>
    public bool TryMove()
    {
        bool flows = Flow == ReadFlow.Flowing;
        Flow = flows ? ReadFlow.Moving : Flow;
        return flows;
    }

    /// <summary>The carrier: the connection is closing. It neither pauses nor resumes from here on.</summary>
    public void Close()
    {
        if (Flow != ReadFlow.Ended)
        {
            Flow = ReadFlow.Closing;
        }
    }

    /// <summary>The carrier: nothing comes any more. true the first time.</summary>
    public bool TryEnd()
    {
        bool first = Flow != ReadFlow.Ended;
        Flow = ReadFlow.Ended;
        return first;
    }
}
