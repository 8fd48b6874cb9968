// How many threads of ours the limits of a container, a unit, a user or the system leave room for.
//
// The runtime starts threads by itself, when it likes: the pool's workers and their gate, one for a signal, one for the
// compiler. Where the system refuses it one, the process ends ("Out of memory."). So carriers never take the last ones,
// and the pool is not made to grow into them. Who starts a thread asks before, since who was refused is too late.
using System.Globalization;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Carrying;

internal static class ThreadRoom
{
    /// <summary>
    /// Threads that stay for the runtime. Stock, with 100 requests that blocked for a second each, came to have five
    /// more than at rest in 20 seconds; three times as many.
    /// </summary>
    internal const int Reserve = 16;

    private static readonly Lazy<string[]> s_folders = new(
        () => Limiting(ControlGroups.Root, ControlGroups.Membership));

    /// <summary>
    /// Threads that may be started now, up to <paramref name="most"/>; 0 and below: none. What the pool may start at
    /// once is not counted as room.
    /// </summary>
    public static int Left(int most)
    {
        ThreadPool.GetMinThreads(out int minimum, out _);
        int promised = Math.Max(0, minimum - ThreadPool.ThreadCount);
        int left = Math.Min(most, Left(s_folders.Value, promised));
        int others = Reserve + promised;
        return left <= 0 ? left : ThreadRoomProbe.Read(left + others) - others;
    }

    /// <summary>The same for what the files say, with so many <paramref name="promised"/> to the pool.</summary>
    internal static int Left(string[] folders, int promised)
    {
        long left = int.MaxValue;
        foreach (string folder in folders)
        {
            if (Number(folder, "pids.max") is { } most && Number(folder, "pids.current") is { } now)
            {
                left = Math.Min(left, most - now - Reserve - promised);
            }
        }

        return (int)Math.Max(left, int.MinValue);
    }

    /// <summary>The groups that can have a limit, which may be set or changed at any time.</summary>
    internal static string[] Limiting(string root, string membership) =>
    [
        .. ControlGroups.Folders(root, membership, "pids")
            .Where(folder => File.Exists(Path.Combine(folder, "pids.max"))),
    ];

    /// <summary>null: there is none ("max"), or it cannot be read.</summary>
    private static long? Number(string folder, string file) =>
        long.TryParse(ControlGroups.Read(folder, file), CultureInfo.InvariantCulture, out long number) ? number : null;
}
