// Send segments that no writer uses: an idle connection keeps none.
namespace MegaPipe.Kestrel.Internal.Pipes;

/// <summary>
/// Each thread has some, and takes and puts them without a lock: the carrier both fills and sends where it runs the
/// application. Where other threads fill what carriers send, segments go from thread to thread a bunch at a time.
/// </summary>
internal static class SpareSegments
{
    /// <summary>Segments that change threads at a time; a thread has up to twice as many, 6 KB.</summary>
    public const int Bunch = 32;

    /// <summary>Bunches that no thread has, 800 KB: more is left to the collector.</summary>
    private const int MostBunches = 256;

    private static readonly Lock s_sync = new();
    private static readonly Stack<SendSegment> s_bunches = new();

    [ThreadStatic]
    private static SendSegment? t_first;

    [ThreadStatic]
    private static int t_count;

    public static SendSegment Take()
    {
        SendSegment? first = t_first;
        if (first is null)
        {
            first = TakeBunch();
            if (first is null)
            {
                return new SendSegment();
            }

            t_count = Bunch;
        }

        t_first = first.Next;
        t_count--;
        first.Next = null;
        return first;
    }

    /// <summary>One that has given its memory back.</summary>
    public static void Put(SendSegment segment)
    {
        if (t_count == 2 * Bunch)
        {
            PutBunch();
        }

        segment.Next = t_first;
        t_first = segment;
        t_count++;
    }

    private static SendSegment? TakeBunch()
    {
        lock (s_sync)
        {
            return s_bunches.TryPop(out SendSegment? bunch) ? bunch : null;
        }
    }

    private static void PutBunch()
    {
        SendSegment bunch = t_first!;
        SendSegment last = bunch;
        for (int i = 1; i < Bunch; i++)
        {
            last = last.Next!;
        }

        t_first = last.Next;
        t_count -= Bunch;
        last.Next = null;
        lock (s_sync)
        {
            if (s_bunches.Count < MostBunches)
            {
                s_bunches.Push(bunch);
            }
        }
    }
}
