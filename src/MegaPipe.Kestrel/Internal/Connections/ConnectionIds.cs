// Connection ids of the shape that logs and tools know: 13 characters, unique in time and over restarts.
namespace MegaPipe.Kestrel.Internal.Connections;

internal static class ConnectionIds
{
    private const string Digits = "0123456789ABCDEFGHIJKLMNOPQRSTUV";
    private const int Length = 13; // 65 bits in digits of 5

    private static long s_last = DateTime.UtcNow.Ticks;

    public static string Next() => string.Create(Length, Interlocked.Increment(ref s_last), static (text, id) =>
    {
        for (int i = Length - 1; i >= 0; i--)
        {
            text[i] = Digits[(int)(id & 31)];
            id >>>= 5;
        }
    });
}
