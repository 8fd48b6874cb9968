// The runtime's thread pool, with what only /proc knows of its threads.
namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>The process's thread pool. Used by the watcher alone, and only while work waits for the pool.</summary>
internal sealed class RuntimePool : IGuardedPool
{
    private const string Tasks = "/proc/self/task";

    /// <summary>"123 (.NET TP Worker) S …": the state comes after the name, which no pool thread changes.</summary>
    private static ReadOnlySpan<byte> Name => "(.NET TP Worker) "u8;

    private readonly byte[] _line = new byte[64];

    public long PendingCount => ThreadPool.PendingWorkItemCount;

    public int ThreadCount => ThreadPool.ThreadCount;

    public int MinThreads
    {
        get
        {
            ThreadPool.GetMinThreads(out int workers, out _);
            return workers;
        }
    }

    public int MaxThreads
    {
        get
        {
            ThreadPool.GetMaxThreads(out int workers, out _);
            int now = Math.Max(ThreadCount, MinThreads);
            return (int)Math.Clamp(now + (long)ThreadRoom.Left(workers - now), 1, workers);
        }
    }

    public bool TrySetMinThreads(int count)
    {
        ThreadPool.GetMinThreads(out _, out int completions);
        return ThreadPool.SetMinThreads(count, completions);
    }

    public void Queue(IThreadPoolWorkItem item) => ThreadPool.UnsafeQueueUserWorkItem(item, preferLocal: false);

    public bool CanRun(int count)
    {
        try
        {
            foreach (string task in Directory.EnumerateDirectories(Tasks))
            {
                if (IsRunnable(task) && --count == 0)
                {
                    return true;
                }
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // No descriptor is left, or /proc is hidden. A pool that stands still then counts as stuck.
        }

        return false;
    }

    private bool IsRunnable(string task)
    {
        try
        {
            using Microsoft.Win32.SafeHandles.SafeFileHandle file = File.OpenHandle($"{task}/stat");
            ReadOnlySpan<byte> line = _line.AsSpan(0, RandomAccess.Read(file, _line, 0));
            int name = line.IndexOf(Name);
            return name >= 0 && line[name + Name.Length] == (byte)'R';
        }
        catch (Exception error) when (error is FileNotFoundException or DirectoryNotFoundException)
        {
            return false; // the thread has ended meanwhile
        }
    }
}
