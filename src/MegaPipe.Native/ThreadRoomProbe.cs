// How many more threads the kernel would start.
namespace MegaPipe.Native;

/// <summary>
/// What the limits of the process's user (ulimit -u) and of the system leave. Some 20 µs; where the user's limit is
/// near, the kernel is asked for 0.1 to 1 ms.
/// </summary>
internal static class ThreadRoomProbe
{
    /// <summary>At most <paramref name="most"/>; so many, too, where that cannot be known.</summary>
    public static int Read(int most)
    {
        int room = NativeMethods.mp_thread_room((uint)Math.Max(most, 0));
        return room < 0 ? most : room;
    }
}
