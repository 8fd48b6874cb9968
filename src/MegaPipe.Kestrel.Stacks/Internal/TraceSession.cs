// One look at the process's own threads, through the runtime's diagnostic port.
using System.Diagnostics.Tracing;
using Microsoft.Diagnostics.NETCore.Client;

namespace MegaPipe.Kestrel.Stacks.Internal;

/// <summary>
/// The runtime writes samples of all stacks and the transport's own events, with one clock, into one stream; at its end
/// come the names of all methods. That is read from a file, which is deleted in any case.
/// </summary>
internal static class TraceSession
{
    private const string Sampler = "Microsoft-DotNETCore-SampleProfiler";
    private const string Transport = "MegaPipe-Kestrel";

    /// <summary>What the runtime may hold until the stream is read: some seconds of a hundred threads.</summary>
    private const int BufferMegabytes = 64;

    /// <summary>Sampling ends early where so many threads have been seen that the file is larger.</summary>
    private const long MaxBytes = 256L << 20;

    /// <summary>For the names of all methods: some hundred milliseconds, seconds on a busy machine.</summary>
    private static readonly TimeSpan s_stopIn = TimeSpan.FromSeconds(30);

    private static readonly EventPipeProvider[] s_providers =
    [
        new(Sampler, EventLevel.Informational),
        new(Transport, EventLevel.Informational),
    ];

    public static async Task<MegaPipeStackReport> RunAsync(
        MegaPipeStatus status, TimeSpan duration, CancellationToken token)
    {
        string folder = "";
        try
        {
            folder = Directory.CreateTempSubdirectory($"megapipe-stacks-{Environment.ProcessId}-").FullName;
            string trace = Path.Combine(folder, "samples.nettrace");
            IReadOnlyList<StuckThread> stuck = await RecordAsync(trace, status, duration, token).ConfigureAwait(false);
            // Some hundred milliseconds of computing: no thread of the pool.
            return await Task.Factory.StartNew(
                () => new MegaPipeStackReport(StackReader.Read(trace, stuck), null), token,
                TaskCreationOptions.LongRunning, TaskScheduler.Default).ConfigureAwait(false);
        }
        catch (ServerNotAvailableException error)
        {
            return Refused($"The runtime's diagnostics cannot be reached: they are off (DOTNET_EnableDiagnostics=0, "
                + $"DOTNET_EnableDiagnostics_IPC=0), or TMPDIR has changed since the start. {error.Message}");
        }
        catch (Exception error) when (error is DiagnosticsClientException or IOException or UnauthorizedAccessException
            or TimeoutException or FormatException)
        {
            return Refused($"The threads could not be sampled: {error.Message}");
        }
        finally
        {
            Delete(folder);
        }
    }

    private static MegaPipeStackReport Refused(string problem) => new([], problem);

    /// <summary>What is stuck at the end: it has no event that says so.</summary>
    private static async Task<IReadOnlyList<StuckThread>> RecordAsync(
        string file, MegaPipeStatus status, TimeSpan duration, CancellationToken token)
    {
        DiagnosticsClient client = new(Environment.ProcessId);
        using EventPipeSession session = await client.StartEventPipeSessionAsync(
            s_providers, requestRundown: true, BufferMegabytes, token).ConfigureAwait(false);
        TaskCompletionSource full = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task copy = CopyAsync(session.EventStream, file, full);
        IReadOnlyList<StuckThread> stuck = [];
        try
        {
            HashSet<(string, int)> before = [.. StuckThreads(status).Select(thread => (thread.Title, thread.ThreadId))];
            await Task.WhenAny(Task.Delay(duration, token), full.Task).ConfigureAwait(false);
            DateTime now = DateTime.UtcNow;
            stuck = [.. StuckThreads(status).Select(thread => thread with
            {
                At = now,
                Before = before.Contains((thread.Title, thread.ThreadId)),
            })];
        }
        finally
        {
            // Also when the caller has given up: a session that is not stopped goes on.
            using CancellationTokenSource late = new(s_stopIn);
            await session.StopAsync(late.Token).ConfigureAwait(false);
            await copy.WaitAsync(s_stopIn, CancellationToken.None).ConfigureAwait(false);
        }

        token.ThrowIfCancellationRequested();
        return stuck;
    }

    private static IEnumerable<StuckThread> StuckThreads(MegaPipeStatus status) =>
        from row in status.GetBlocked()
        from thread in row.Threads
        where thread > 0
        select new StuckThread(row.Title, thread) { AtMost = row.LongestNow };

    /// <summary>To the stream's end, also beyond the limit: the names of the methods come last.</summary>
    private static async Task CopyAsync(Stream stream, string file, TaskCompletionSource full)
    {
        byte[] buffer = new byte[128 << 10];
        FileStream output = new(file, FileMode.CreateNew, FileAccess.Write, FileShare.Read, bufferSize: 0);
        await using (output.ConfigureAwait(false))
        {
            int count;
            while ((count = await stream.ReadAsync(buffer).ConfigureAwait(false)) > 0)
            {
                await output.WriteAsync(buffer.AsMemory(0, count)).ConfigureAwait(false);
                if (output.Position > MaxBytes)
                {
                    full.TrySetResult();
                }
            }
        }
    }

    private static void Delete(string folder)
    {
        try
        {
            if (folder.Length > 0)
            {
                Directory.Delete(folder, recursive: true);
            }
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // What cannot be deleted stays in the folder for temporary files.
        }
    }
}
