// Whether a client that has just connected may still ask: by what it has sent, on a clock of the test's own.
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Pipes;

[Trait("Transport", "MegaPipe"), Trait("Area", "Accept")]
public sealed class OpeningTests
{
    private const int Silence = 250;
    private const int Ask = 1_000;

    /// <summary>Not far from where the clock's 32 bits begin again.</summary>
    private const long Start = uint.MaxValue - 100L;

    private static readonly byte[] s_hello = Record(0x16, 300);
    private static readonly byte[] s_change = Record(0x14, 1);
    private static readonly byte[] s_encrypted = Record(0x17, 53);

    [Fact]
    public void Silent_WaitsForItsSilenceOnly()
    {
        Opening opening = Begin();
        Assert.True(MayAsk(ref opening, Silence - 1));
        Assert.False(MayAsk(ref opening, Silence));
        Assert.Equal(-1, opening.SilentMs);
    }

    [Fact]
    public void Plain_UntilItIsTaken()
    {
        Opening opening = Begin();
        opening.OnData("GET /"u8, Start + 30);
        Assert.Equal(30, opening.SilentMs);
        Assert.False(opening.Listens);
        Assert.True(MayAsk(ref opening, Ask - 1));
        Assert.False(MayAsk(ref opening, Ask));
        Assert.False(opening.MayAsk(Start + 31, Silence, Ask, taken: true, fresh: false));
        opening.OnSent();
        Assert.True(opening.IsAnswered);
    }

    /// <summary>However the records are cut.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(7)]
    [InlineData(1_000)]
    public void Tls_UntilItsRequestIsAnswered(int piece)
    {
        Opening opening = Begin();
        Show(ref opening, s_hello, piece, 10);
        opening.OnSent(); // the handshake's
        Assert.True(MayAsk(ref opening, Ask - 1));
        Show(ref opening, [.. s_change, .. s_encrypted], piece, 300);
        opening.OnSent();
        Assert.True(opening.Listens);
        Assert.True(MayAsk(ref opening, 300 + Silence - 1));
        Assert.False(MayAsk(ref opening, 300 + Silence));
        Assert.True(opening.MayAsk(Start + 300 + Silence, Silence, Ask, taken: true, fresh: true));
        Show(ref opening, s_encrypted, piece, 400);
        Assert.False(opening.Listens);
        Assert.False(opening.IsAnswered);
        Assert.True(MayAsk(ref opening, Ask - 1));
        opening.OnSent();
        Assert.True(MayAsk(ref opening, 401));
        Assert.False(MayAsk(ref opening, 450));
        Assert.True(opening.MayAsk(Start + 450, Silence, Ask, taken: true, fresh: true));
    }

    [Fact]
    public void NotBegun_NobodyAsksOrListens()
    {
        Opening opening = new();
        Assert.False(opening.Listens);
        Assert.True(opening.IsAnswered);
        Assert.False(opening.MayAsk(0, Silence, Ask, taken: false, fresh: true));
    }

    private static Opening Begin()
    {
        Opening opening = new();
        opening.Begin(Start);
        Assert.True(opening.Listens);
        return opening;
    }

    private static bool MayAsk(ref Opening opening, int afterMs) => opening.MayAsk(
        Start + afterMs, Silence, Ask, taken: opening.SilentMs < 0, fresh: false);

    private static void Show(ref Opening opening, byte[] data, int piece, int afterMs)
    {
        for (int at = 0; at < data.Length; at += piece)
        {
            opening.OnData(data.AsSpan(at, Math.Min(piece, data.Length - at)), Start + afterMs);
        }
    }

    private static byte[] Record(byte type, int length) =>
        [type, 3, 3, (byte)(length >> 8), (byte)length, .. Client.Pattern(length)];
}
