// How far a new client is with its first request: told by when data came and, for TLS, by the headers of its records,
// which are in the clear.
namespace MegaPipe.Kestrel.Internal.Pipes;

/// <summary>
/// The carrier's, but for <see cref="Begin"/>. Looks at the data of accepted connections until the client has asked;
/// afterwards nothing here costs anything. Times are milliseconds of any clock that starts anywhere, modulo 2^32.
/// </summary>
internal struct Opening
{
    private const int HeaderBytes = 5;
    private const byte HandshakeRecord = 0x16;
    private const byte ApplicationRecord = 0x17;

    /// <summary>
    /// Between the record of a TLS client's request and the server's seeing it lies the decryption, and with it an
    /// answer to the handshake's end may be sent: an answer counts when the client has been quiet for so long.
    /// </summary>
    private const uint QuietMs = 50;

    private enum Stage : byte
    {
        /// <summary>Nobody asks here, or it is known.</summary>
        None,

        /// <summary>Connected, and nothing came.</summary>
        Silent,

        /// <summary>Something came that is not TLS.</summary>
        Plain,

        /// <summary>A TLS client, of whom no encrypted record is known.</summary>
        Handshake,

        /// <summary>One such record: the handshake's end, or with TLS 1.2 the request.</summary>
        Encrypted,

        /// <summary>Two: with every version a request has begun.</summary>
        Asked,
    }

    private uint _sinceMs;
    private uint _changedMs; // the last time the stage did
    private ushort _left;    // of the record's length: known, or to come
    private byte _header;    // bytes of it that have come
    private byte _type;
    private Stage _stage;

    /// <summary>Whether data is to be shown to <see cref="OnData"/>.</summary>
    public readonly bool Listens => _stage is Stage.Silent or Stage.Handshake or Stage.Encrypted;

    /// <summary>Something was sent since the client has asked, or nobody wants to know.</summary>
    public bool IsAnswered { get; private set; } = true;

    public Opening()
    {
    }

    /// <summary>Between the connect and the first byte; negative: it has not come.</summary>
    public readonly int SilentMs => _stage is Stage.Plain or Stage.Handshake ? (int)(_changedMs - _sinceMs) : -1;

    public void Begin(long nowMs)
    {
        _sinceMs = _changedMs = (uint)nowMs;
        _stage = Stage.Silent;
        IsAnswered = false;
    }

    public void OnData(ReadOnlySpan<byte> data, long nowMs)
    {
        if (_stage == Stage.Silent)
        {
            Enter(data[0] == HandshakeRecord ? Stage.Handshake : Stage.Plain, nowMs);
        }

        while (!data.IsEmpty && Listens)
        {
            if (_header == HeaderBytes)
            {
                int skipped = Math.Min(_left, data.Length);
                data = data[skipped..];
                _left -= (ushort)skipped;
                _header = _left == 0 ? (byte)0 : _header;
                continue;
            }

            TakeHeader(data[0], nowMs);
            data = data[1..];
        }
    }

    /// <summary>A write has ended.</summary>
    public void OnSent() => IsAnswered |= _stage is Stage.Plain or Stage.Asked;

    /// <summary>
    /// Whether the first request may still be under way. <paramref name="silenceMs"/>: who has connected, and who has
    /// ended a handshake, asks within that or not soon. <paramref name="askMs"/>: as long may a handshake and the
    /// first read take. <paramref name="taken"/>: the application has read. <paramref name="fresh"/>: data is there
    /// that it has not been given.
    /// </summary>
    public readonly bool MayAsk(long nowMs, int silenceMs, int askMs, bool taken, bool fresh)
    {
        uint quiet = (uint)nowMs - _changedMs;
        return (uint)nowMs - _sinceMs < askMs && _stage switch
        {
            Stage.Silent => quiet < silenceMs,
            Stage.Plain => !taken,
            Stage.Handshake => true,
            Stage.Encrypted => fresh || quiet < silenceMs,
            Stage.Asked => fresh || !IsAnswered || quiet < QuietMs,
            _ => false,
        };
    }

    private void TakeHeader(byte next, long nowMs)
    {
        switch (_header++)
        {
            case 0:
                _type = next;
                break;
            case 3:
                _left = (ushort)(next << 8);
                break;
            case 4:
                _left |= next;
                _header = _left == 0 ? (byte)0 : _header;
                if (_type == ApplicationRecord)
                {
                    Enter(_stage == Stage.Handshake ? Stage.Encrypted : Stage.Asked, nowMs);
                }

                break;
        }
    }

    private void Enter(Stage stage, long nowMs)
    {
        _stage = stage;
        _changedMs = (uint)nowMs;
    }
}
