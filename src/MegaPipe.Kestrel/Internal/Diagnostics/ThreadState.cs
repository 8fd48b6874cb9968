// What the kernel says that a thread of this process is doing at this moment.
using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>Why a thread does not come back, as far as the kernel knows it.</summary>
internal enum ThreadState
{
    /// <summary>It could not be asked.</summary>
    Unknown,

    /// <summary>It runs, or waits for a CPU.</summary>
    Computes,

    /// <summary>It waits for another thread, a lock, or a time.</summary>
    WaitsForThread,

    /// <summary>It waits in a call that reads, writes or waits for the like: synchronous I/O.</summary>
    WaitsForSystem,

    /// <summary>It waits, in another call or in one that nobody has seen.</summary>
    Waits,
}

/// <summary>Some 20 µs each: for threads that are stuck anyway, by another thread.</summary>
internal static class ThreadProbe
{
    private static readonly bool s_arm = RuntimeInformation.ProcessArchitecture == Architecture.Arm64;

    /// <summary>futex and its newer form, nanosleep, clock_nanosleep, sched_yield.</summary>
    private static readonly int[] s_threadCalls = s_arm ? [98, 455, 101, 115, 124] : [202, 455, 35, 230, 24];

    /// <summary>
    /// open, read, write, poll, select, epoll_wait, sockets, directories, sync, flock, sendfile, wait for a process,
    /// and their variants.
    /// </summary>
    private static readonly int[] s_inputOutputCalls = s_arm
        ? [22, 32, 56, 61, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 79, 82, 83, 95, 202, 203, 206, 207, 211, 212,
            242, 243, 260, 269, 285, 291]
        : [0, 1, 2, 4, 7, 17, 18, 19, 20, 23, 40, 42, 43, 44, 45, 46, 47, 61, 73, 74, 75, 78, 217, 232, 247, 257, 262,
            270, 271, 281, 288, 295, 296, 299, 307, 326, 332];

    /// <summary>The calling thread's number in the system, as dotnet-stack shows it; 0: unknown.</summary>
    public static int CurrentId
    {
        get
        {
            try
            {
                // "123/task/456"
                string? target = new FileInfo("/proc/thread-self").LinkTarget;
                return int.TryParse(
                    target.AsSpan(target.AsSpan().LastIndexOf('/') + 1), CultureInfo.InvariantCulture, out int id)
                    ? id : 0;
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                return 0; // no /proc here
            }
        }
    }

    /// <summary>
    /// "running" while it runs, "-1 …" where it sleeps outside of a call (a page fault), otherwise the call's number.
    /// The kernel lets a process read this of its own threads.
    /// </summary>
    public static ThreadState Read(int id)
    {
        if (id == 0)
        {
            return ThreadState.Unknown;
        }

        try
        {
            Span<byte> line = stackalloc byte[32];
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle($"/proc/self/task/{id}/syscall");
            return Parse(line[..RandomAccess.Read(file, line, 0)]);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return ThreadState.Unknown; // the thread has ended, no descriptor is left, or /proc is hidden
        }
    }

    /// <summary>
    /// Stopwatch ticks that the thread ran, and that it was ready and had no CPU, since it was made; null where the
    /// kernel does not count.
    /// </summary>
    public static (long Ran, long Queued)? ReadTimes(int id)
    {
        if (id == 0)
        {
            return null;
        }

        try
        {
            // "123 456 7": nanoseconds on a CPU, nanoseconds in the queue for one, time slices.
            Span<byte> line = stackalloc byte[64];
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle($"/proc/self/task/{id}/schedstat");
            line = line[..RandomAccess.Read(file, line, 0)];
            int first = line.IndexOf((byte)' ');
            int second = line.LastIndexOf((byte)' ');
            return first > 0 && second > first && TryTicks(line[..first], out long ran) &&
                TryTicks(line[(first + 1)..second], out long queued) ? (ran, queued) : null;
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static bool TryTicks(ReadOnlySpan<byte> text, out long ticks)
    {
        bool parsed = long.TryParse(text, CultureInfo.InvariantCulture, out long nanoseconds);
        ticks = (long)(nanoseconds * (Stopwatch.Frequency / 1e9));
        return parsed;
    }

    internal static ThreadState Parse(ReadOnlySpan<byte> line)
    {
        if (line.StartsWith("running"u8))
        {
            return ThreadState.Computes;
        }

        int end = line.IndexOf((byte)' ');
        return !int.TryParse(end < 0 ? line : line[..end], CultureInfo.InvariantCulture, out int call)
            ? ThreadState.Unknown
            : call < 0 ? ThreadState.Computes
            : s_threadCalls.Contains(call) ? ThreadState.WaitsForThread
            : s_inputOutputCalls.Contains(call) ? ThreadState.WaitsForSystem : ThreadState.Waits;
    }
}
