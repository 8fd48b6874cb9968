// A connection whose application is at work, or has data, is not idle: it stays, and moves in the next quiet moment.
using System.IO.Pipelines;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Balancing;

[Trait("Transport", "MegaPipe"), Trait("Area", "Moving")]
public sealed class MovingWaitsTests
{
    [Fact]
    public async Task Move_ApplicationIsAtWork_TheConnectionStaysUntilItWaitsAgain()
    {
        await using TransportHarness harness = Create();
        (ConnectedPair pair, TransportChannel target) = await ConnectAsync(harness);
        MegaPipeConnection connection = (MegaPipeConnection)pair.Server;
        PipeReader input = connection.Transport.Input;

        // Nothing is unread and nothing is unsent, but the application has not come back for more.
        connection.AskToMove(target);
        await PassTurnsAsync(connection.Channel);
        Assert.NotSame(target, connection.Channel);
        Assert.Equal(0, LeakCheck.Sum(harness.Status, "transfers"));

        Task<ReadResult> read = input.ReadAsync().AsTask();
        connection.AskToMove(target);
        await Eventually.True(() => ReferenceEquals(connection.Channel, target));
        await pair.Client.SendAllAsync("y");
        input.AdvanceTo((await read.InTime()).Buffer.End);
    }

    [Fact]
    public async Task Move_ApplicationWaitsForMoreThanHasCome_TheConnectionStaysWithItsData()
    {
        await using TransportHarness harness = Create();
        (ConnectedPair pair, TransportChannel target) = await ConnectAsync(harness);
        MegaPipeConnection connection = (MegaPipeConnection)pair.Server;
        PipeReader input = connection.Transport.Input;
        Task<ReadResult> read = input.ReadAtLeastAsync(3).AsTask();
        await pair.Client.SendAllAsync("y");
        await Eventually.True(() => LeakCheck.Sum(harness.Status, "leases_out") == 1);

        connection.AskToMove(target);
        await PassTurnsAsync(connection.Channel);
        Assert.NotSame(target, connection.Channel);

        await pair.Client.SendAllAsync("es");
        ReadResult result = await read.InTime();
        Assert.Equal(3, result.Buffer.Length);
        input.AdvanceTo(result.Buffer.End);
    }

    private static TransportHarness Create() =>
        TransportHarness.Create(TransportKind.MegaPipe, settings => settings.MegaPipe = options =>
        {
            options.Channels = 2;
            options.Steering = MegaPipeSteering.Balanced;
            options.LocalPerStolen = 0;
        });

    /// <summary>A connection that may move, and the channel that it does not live on.</summary>
    private static async Task<(ConnectedPair Pair, TransportChannel Target)> ConnectAsync(TransportHarness harness)
    {
        IConnectionListener listener = await harness.BindAsync();
        ConnectedPair pair = await harness.ConnectAsync(listener);
        await pair.Client.SendAllAsync("x");
        await pair.Server.Transport.Input.ReadExactlyAsync(1);
        IReadOnlyList<TransportChannel> channels = ((MegaPipeConnectionListener)listener).Channels;
        return (pair, channels[1 - ((MegaPipeConnection)pair.Server).Channel.Index]);
    }

    /// <summary>What was asked of the channel is done, and so is what that asked the kernel for.</summary>
    private static async Task PassTurnsAsync(TransportChannel channel)
    {
        for (int i = 0; i < 200; i++)
        {
            TaskCompletionSource done = new(TaskCreationOptions.RunContinuationsAsynchronously);
            channel.Post(_ => done.SetResult());
            await done.Task.InTime();
        }
    }
}
