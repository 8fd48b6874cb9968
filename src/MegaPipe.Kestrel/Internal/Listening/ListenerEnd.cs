// Unbinding without losing a client: first nobody new comes, then everybody who has come is accepted, then the
// partitions close, then who was accepted last gets the time to ask.
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>The end of one listener. Any thread, once.</summary>
internal sealed class ListenerEnd(
    ListenSocket first, EndpointContext endpoint, ListenerPartition[] partitions,
    IReadOnlyList<TransportChannel> channels)
{
    /// <summary>Longer than a handshake takes whose first answer was not lost, around the world.</summary>
    private static readonly TimeSpan s_handshakesWithin = TimeSpan.FromSeconds(1);

    /// <summary>Where the kernel does not say how many handshakes there are, so long is waited for them.</summary>
    private static readonly TimeSpan s_handshakesUnseen = TimeSpan.FromMilliseconds(50);

    /// <summary>A listener that cannot be shut: what it has queued is taken, for no longer than this.</summary>
    private static readonly TimeSpan s_queueOfOpenListener = TimeSpan.FromMilliseconds(100);

    /// <summary>
    /// Between two looks, at least: for an instant a client is counted neither as a handshake nor as queued.
    /// </summary>
    private static readonly TimeSpan s_firstLook = TimeSpan.FromMilliseconds(1);

    private static readonly TimeSpan s_lastLook = TimeSpan.FromMilliseconds(20);

    // Other processes listen here, too, and get the new connections.
    private bool _steered;

    /// <summary>
    /// Shuts the listener and has the channels accept who was there already. With a listener that is somebody else's
    /// this is not called: its queue stays for who comes next.
    /// </summary>
    public async Task AcceptTheLastAsync()
    {
        if (!first.IsOurs)
        {
            await UntilNobodyWaitsAsync(handshakes: false, s_queueOfOpenListener).ConfigureAwait(false);
            return;
        }

        bool tcp = endpoint.EndPoint is IPEndPoint;
        bool others = first.Shared is { } shared && shared.HasOthers(
            (IPEndPoint)endpoint.EndPoint, first.Socket, 1 + partitions.Count(partition => partition.HasOwnQueue));
        _steered = others && first.Shared!.TrySteerAway(exceptTheLast: false);
        if (_steered)
        {
            // The handshakes of the others count, too, so there may always be some.
            await UntilNobodyWaitsAsync(handshakes: true, s_handshakesWithin).ConfigureAwait(false);
        }

        bool shut = TryShut(others);
        await UntilNobodyWaitsAsync(
            shut && tcp && !_steered, shut && !others ? s_handshakesWithin : s_queueOfOpenListener)
            .ConfigureAwait(false);
    }

    /// <summary>Closes the partitions, the first of which shares the first socket, which stays open.</summary>
    public async Task StopPartitionsAsync()
    {
        if (!_steered)
        {
            Array.ForEach(partitions, Stop);
            await Task.WhenAll(partitions.Select(partition => partition.Retired)).ConfigureAwait(false);
            return;
        }

        // The last member of the group takes the place of one that leaves. So the last of ours leaves first, and nobody
        // is sent to a place that changes.
        SharedAddress group = first.Shared!;
        foreach (ListenerPartition partition in partitions.Reverse())
        {
            group.TrySteerAway(exceptTheLast: true);
            Stop(partition);
            await partition.Retired.ConfigureAwait(false);
            if (partition.HasOwnQueue)
            {
                group.OnLeft();
            }
        }

        group.Release();
    }

    private static void Stop(ListenerPartition partition) => partition.Channel.Post(_ => partition.Stop());

    private async Task UntilNobodyWaitsAsync(bool handshakes, TimeSpan limit)
    {
        Looks looks = new();
        bool clear = false;
        while (looks.Elapsed < limit)
        {
            bool wasClear = clear;
            clear = !(handshakes && HasHandshakes(looks.Elapsed)) &&
                !Array.Exists(partitions, partition => partition.HasQueued);
            if (clear && (wasClear || endpoint.EndPoint is not IPEndPoint))
            {
                return;
            }

            await looks.WaitAsync().ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Kestrel closes every connection that it is not answering as soon as its listener is unbound. Who has just
    /// connected has a request under way, so it is waited for.
    /// </summary>
    public async Task UntilTheLastHaveAskedAsync()
    {
        Looks looks = new();
        while (MegaPipeConnection.AsksWithin - looks.Elapsed is { Ticks: > 0 } left)
        {
            Task<int>[] counts = [.. channels.Select(CountAsync)];
            try
            {
                await Task.WhenAll(counts).WaitAsync(left).ConfigureAwait(false);
            }
            catch (TimeoutException)
            {
                return; // a carrier is stuck in application code
            }

            if (counts.Sum(count => count.Result) == 0)
            {
                return;
            }

            await looks.WaitAsync().ConfigureAwait(false);
        }
    }

    /// <summary>All that can be shut, even where one cannot.</summary>
    private bool TryShut(bool shared)
    {
        bool shut = NewcomerRefusal.TryShut(first.Socket, endpoint.EndPoint, shared);
        foreach (ListenerPartition partition in partitions)
        {
            shut &= partition.TryShut(endpoint.EndPoint, shared);
        }

        return shut;
    }

    private Task<int> CountAsync(TransportChannel channel)
    {
        TaskCompletionSource<int> counted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        channel.Post(_ => counted.SetResult(channel.CountOwners(
            owner => owner is MegaPipeConnection connection && connection.IsAboutToAsk(endpoint))));
        return counted.Task;
    }

    private bool HasHandshakes(TimeSpan elapsed)
    {
        int count = SocketDiagnostics.CountHandshakes((IPEndPoint)endpoint.EndPoint);
        return count > 0 || (count < 0 && elapsed < s_handshakesUnseen);
    }

    /// <summary>Looks again after 1 ms, then ever more rarely.</summary>
    private sealed class Looks
    {
        private readonly long _start = Stopwatch.GetTimestamp();
        private TimeSpan _next = s_firstLook;

        public TimeSpan Elapsed => Stopwatch.GetElapsedTime(_start);

        public async Task WaitAsync()
        {
            await Task.Delay(_next).ConfigureAwait(false);
            _next = _next * 2 < s_lastLook ? _next * 2 : s_lastLook;
        }
    }
}
