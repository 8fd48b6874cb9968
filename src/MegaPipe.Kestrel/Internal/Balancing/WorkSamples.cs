// Which connections a channel works for: who was seen at work there at the last looks.
namespace MegaPipe.Kestrel.Internal.Balancing;

/// <summary>What a connection that was seen at work may do now.</summary>
internal enum Mobility
{
    /// <summary>It is no longer there.</summary>
    Gone,

    /// <summary>It has moved a short while ago.</summary>
    Stays,

    /// <summary>It may move.</summary>
    Moves,
}

/// <summary>
/// One look in so many milliseconds finds a connection as often as it works. So those with much work are found, and
/// nobody measures what each of them costs. Oldest out.
/// </summary>
internal sealed class WorkSamples<T>
    where T : class
{
    /// <summary>Looks that count: a third of a second.</summary>
    public const int Most = 32;

    /// <summary>With fewer of them nobody knows who has how much.</summary>
    private const int Least = 8;

    private readonly T?[] _seen = new T?[Most];
    private int _next;
    private int _count;

    /// <summary>What runs at this look; null: nothing.</summary>
    public void Add(T? running)
    {
        _count += (running is null ? 0 : 1) - (_seen[_next] is null ? 0 : 1);
        _seen[_next] = running;
        _next = (_next + 1) % Most;
    }

    /// <summary>It is no longer here.</summary>
    public void Remove(T connection)
    {
        for (int i = 0; i < Most; i++)
        {
            if (ReferenceEquals(_seen[i], connection))
            {
                _seen[i] = null;
                _count--;
            }
        }
    }

    public void Clear()
    {
        Array.Clear(_seen);
        _count = 0;
    }

    /// <summary>The <paramref name="index"/>th, from the newest; null: nothing ran, or too little is known.</summary>
    public T? this[int index] => _count < Least ? null : _seen[(_next + Most - 1 - index) % Most];

    /// <summary>
    /// The part of the channel's work that is this connection's, where the channel has so many: seen once it may have
    /// as little as any other.
    /// </summary>
    public double Part(T connection, int connections)
    {
        int times = 0;
        foreach (T? seen in _seen)
        {
            times += ReferenceEquals(seen, connection) ? 1 : 0;
        }

        return times > 1 ? (double)times / _count : 1.0 / Math.Max(1, Math.Min(connections, _count));
    }
}
