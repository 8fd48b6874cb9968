// Looks at the channels once a second while somebody watches.
using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading.Channels;

namespace MegaPipe.Kestrel.Page.Internal;

/// <summary>
/// The samples of the last two minutes. It starts with the first request and stops when nobody has asked for a while,
/// so a page that is mapped and not open costs nothing.
/// </summary>
internal sealed class Sampler(MegaPipeStatus status, TimeProvider clock)
{
    internal const int Capacity = 120;
    internal static readonly TimeSpan Period = TimeSpan.FromSeconds(1);
    private const int RecentSamples = 60;
    private static readonly TimeSpan s_keepFor = TimeSpan.FromMinutes(2);

    private readonly Lock _sync = new();
    private readonly Queue<Look> _history = new(Capacity + 1);
    private readonly List<Channel<ReadOnlyMemory<byte>>> _followers = [];
    private ITimer? _timer;
    private DateTimeOffset _asked;

    /// <summary>What was counted until the newest look.</summary>
    private Counted? _counted;

    private sealed record Counted(long Timestamp, TimeSpan Cpu, IReadOnlyList<MegaPipeChannelStatus> Channels);

    /// <summary>One look: what happened since the last one, and who has blocked until then.</summary>
    private sealed record Look(Sample Sample, IReadOnlyList<MegaPipeBlockedEndpoint> Blocked);

    public PageState State()
    {
        lock (_sync)
        {
            Look last = Ask();
            return new PageState(
                Describe(), status.Transport, status.FallbackReason, status.Options, status.Features,
                _counted!.Channels, [.. _history.Skip(1).Select(look => look.Sample)], Update(last));
        }
    }

    /// <summary>Updates as frames of an event stream, from the next look on.</summary>
    public async IAsyncEnumerable<ReadOnlyMemory<byte>> Follow([EnumeratorCancellation] CancellationToken token)
    {
        // Whoever reads slowly gets the newest.
        Channel<ReadOnlyMemory<byte>> frames = Channel.CreateBounded<ReadOnlyMemory<byte>>(
            new BoundedChannelOptions(2)
            {
                FullMode = BoundedChannelFullMode.DropOldest,
                AllowSynchronousContinuations = true, // the sampler's thread writes the response as well
            });
        lock (_sync)
        {
            Ask();
            _followers.Add(frames);
        }

        try
        {
            await foreach (ReadOnlyMemory<byte> frame in frames.Reader.ReadAllAsync(token).ConfigureAwait(false))
            {
                yield return frame;
            }
        }
        finally
        {
            lock (_sync)
            {
                _followers.Remove(frames);
                _asked = clock.GetUtcNow();
            }
        }
    }

    /// <summary>Under the lock: somebody watches. The newest look.</summary>
    private Look Ask()
    {
        _asked = clock.GetUtcNow();
        if (_timer is null)
        {
            _history.Clear();
            _counted = null;
            TakeLook();
            _timer = clock.CreateTimer(static sampler => ((Sampler)sampler!).OnTimer(), this, Period, Period);
        }

        return _history.Last();
    }

    private void OnTimer()
    {
        byte[] frame;
        Channel<ReadOnlyMemory<byte>>[] followers;
        lock (_sync)
        {
            if (_timer is null)
            {
                return;
            }

            if (_followers.Count == 0 && clock.GetUtcNow() - _asked > s_keepFor)
            {
                _timer.Dispose();
                _timer = null;
                return;
            }

            Look look = TakeLook();
            if (_followers.Count == 0)
            {
                return;
            }

            frame = PageRoutes.Frame(Update(look)); // one for all
            followers = [.. _followers];
        }

        // Outside of the lock: each goes on with its response here, and may end.
        foreach (Channel<ReadOnlyMemory<byte>> follower in followers)
        {
            follower.Writer.TryWrite(frame);
        }
    }

    private Look TakeLook()
    {
        Counted counted = new(clock.GetTimestamp(), Environment.CpuUsage.TotalTime, status.GetChannels());
        Counted? before = _counted;
        double seconds =
            before is null ? 0 : clock.GetElapsedTime(before.Timestamp, counted.Timestamp).TotalSeconds;
        Sample sample = new(
            clock.GetUtcNow().ToUnixTimeMilliseconds(),
            seconds > 0 ? Math.Round((counted.Cpu - before!.Cpu).TotalSeconds / seconds * 100, 1) : 0,
            [.. counted.Channels.Select(channel => Difference.Of(channel, Find(before, channel.Index), seconds))]);
        _counted = counted;
        Look look = new(sample, status.GetBlocked());
        _history.Enqueue(look);
        if (_history.Count > Capacity + 1)
        {
            _history.Dequeue();
        }

        return look;
    }

    private static MegaPipeChannelStatus? Find(Counted? before, int index) =>
        index < before?.Channels.Count ? before.Channels[index] : null; // they are in order

    private PageUpdate Update(Look look)
    {
        Look old = _history.ElementAt(Math.Max(0, _history.Count - 1 - RecentSamples));
        return new PageUpdate(
            status.Transport, status.CarriersLive, status.CarriersSpare, look.Sample,
            [.. look.Blocked.Select(row => Describe(row, old.Blocked.FirstOrDefault(other => Same(row, other))))]);
    }

    private static bool Same(MegaPipeBlockedEndpoint row, MegaPipeBlockedEndpoint other) =>
        row.Title == other.Title && row.Protocol == other.Protocol && row.Name == other.Name;

    private static BlockedState Describe(MegaPipeBlockedEndpoint row, MegaPipeBlockedEndpoint? before) => new(
        row.Title, row.Protocol, row.Name, row.Cause.ToString(), row.Count, row.OnPool, Milliseconds(row.Total),
        Milliseconds(row.Worst), row.StuckNow, Milliseconds(row.LongestNow), row.Threads, row.HandOversByChannel,
        row.Last)
    {
        RecentCount = row.Count - (before?.Count ?? 0),
        RecentMilliseconds = Milliseconds(row.Total - (before?.Total ?? TimeSpan.Zero) + row.LongestNow),
    };

    private static double Milliseconds(TimeSpan time) => Math.Round(time.TotalMilliseconds, 1);

    private static ProcessState Describe()
    {
        using Process process = Process.GetCurrentProcess();
        return new ProcessState(
            Environment.ProcessId, process.ProcessName, process.StartTime, Environment.ProcessorCount,
            RuntimeInformation.FrameworkDescription, $"Linux {Environment.OSVersion.Version}");
    }
}
