// A carrier's thread: as good as one of the thread pool for the application code that runs on it.
using System.Diagnostics.CodeAnalysis;
using MegaPipe.Kestrel.Internal.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Carrying;

/// <summary>Starting threads, and undoing what application code left on one.</summary>
internal static class CarrierThread
{
    [ThreadStatic]
    private static ExecutionContext? t_cleanContext;

    [ThreadStatic]
    private static string? t_name;

    [ThreadStatic]
    private static int t_id;

    /// <summary>The calling thread's number in the system, after <see cref="Remember"/>; 0: unknown.</summary>
    public static int Id => t_id;

    /// <summary>Starts a thread: the runtime's way. Tests replace it by one that refuses.</summary>
    internal static Action<Thread> Starter { get; set; } = static thread => thread.UnsafeStart();

    /// <summary>
    /// A background thread with the stack that pool threads have (DOTNET_Thread_DefaultStackSize, ulimit -s).
    /// false: a limit forbids it (<see cref="ThreadLimits"/>), or memory has run out.
    /// </summary>
    [SuppressMessage("Design", "CA1031", Justification = "Whatever keeps a thread from starting, there is none.")]
    public static bool TryStart(ThreadStart body, string name)
    {
        try
        {
            Starter(new Thread(body) { IsBackground = true, Name = name });
            return true;
        }
        catch (Exception)
        {
            return false;
        }
    }

    /// <summary>Before any application code runs on the calling thread.</summary>
    public static void Remember()
    {
        if (t_cleanContext is null)
        {
            t_cleanContext = ExecutionContext.Capture();
            t_name = Thread.CurrentThread.Name;
            t_id = ThreadProbe.CurrentId;
        }
    }

    /// <summary>
    /// Undoes what a continuation left on its thread, as the thread pool does between work items: the next one belongs
    /// to somebody else. The cultures are in the execution context. Reading everything takes some 5 ns; what is as it
    /// was is not written.
    /// </summary>
    public static void Clean()
    {
        if (!ReferenceEquals(ExecutionContext.Capture(), t_cleanContext))
        {
            ExecutionContext.Restore(t_cleanContext!);
        }

        if (SynchronizationContext.Current is not null)
        {
            SynchronizationContext.SetSynchronizationContext(null);
        }

        Thread thread = Thread.CurrentThread;
        if (!thread.IsBackground)
        {
            thread.IsBackground = true; // the process would wait for this thread, which may carry for ever
        }

        if (thread.Priority != ThreadPriority.Normal)
        {
            thread.Priority = ThreadPriority.Normal;
        }

        if (!ReferenceEquals(thread.Name, t_name))
        {
            thread.Name = t_name;
        }
    }

    /// <summary>Forgets a Thread.Interrupt that application code has left behind.</summary>
    public static void ClearInterrupt() => Uninterrupted(static () => Thread.Sleep(0));

    /// <summary>
    /// Does <paramref name="action"/>, which waits for nothing but at its beginning, whatever Thread.Interrupt
    /// application code has asked for on the calling thread and left behind. Its result.
    /// </summary>
    public static T Uninterrupted<T>(Func<T> action)
    {
        while (true)
        {
            try
            {
                return action();
            }
            catch (ThreadInterruptedException)
            {
                // Thrown once for each Interrupt: the next try waits.
            }
        }
    }

    /// <summary>The same for what has no result.</summary>
    public static void Uninterrupted(Action action) => Uninterrupted(() =>
    {
        action();
        return true;
    });
}
