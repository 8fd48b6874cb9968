// The queue between carriers and the accept loop, alone: tokens that come late, its end, and what it keeps.
using System.Reflection;
using System.Runtime.CompilerServices;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Tests.Pipes.Differential;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging.Abstractions;
using System.Net;

namespace MegaPipe.Kestrel.Tests.Listening;

[Trait("Area", "AcceptQueue")]
public sealed class AcceptQueueTests : IDisposable
{
    private readonly StepChannel _channel = new(buffers: 8, bufferBytes: 256, MegaPipeScheduling.Inline);

    public void Dispose() => _channel.Dispose();

    [Fact]
    public async Task Take_EarlierTokensCallbackComesLate_StaysPending()
    {
        AcceptQueue queue = new(_channel.Scheduling);
        object sync = typeof(AcceptQueue)
            .GetField("_pending", BindingFlags.Instance | BindingFlags.NonPublic)!.GetValue(queue)!;
        using CancellationTokenSource first = new();
        Task<ConnectionContext?> firstTake = queue.TakeAsync(first.Token).AsTask();
        Task<ConnectionContext?> secondTake;
        Thread canceling = new(first.Cancel);
        using CancellationTokenSource second = new();
        // The first token's callback has begun and waits for the lock; the first take gets a connection meanwhile.
        Monitor.Enter(sync);
        try
        {
            canceling.Start();
            Assert.True(SpinWait.SpinUntil(
                () => (canceling.ThreadState & ThreadState.WaitSleepJoin) != 0, InTimeExtensions.Limit));
            queue.Add(NewConnection(), _channel.Carried);
            Turn();
            Assert.True(firstTake.IsCompletedSuccessfully);
            secondTake = queue.TakeAsync(second.Token).AsTask();
        }
        finally
        {
            Monitor.Exit(sync);
        }

        Assert.True(canceling.Join(InTimeExtensions.Limit));
        // What the callback may have released is before this in the pool's queue.
        TaskCompletionSource behind = new(TaskCreationOptions.RunContinuationsAsynchronously);
        ThreadPool.UnsafeQueueUserWorkItem(_ => behind.SetResult(), null);
        await behind.Task.InTime();
        Assert.False(secondTake.IsCompleted, "Released by a token that is not its own.");
        MegaPipeConnection connection = NewConnection();
        queue.Add(connection, _channel.Carried);
        Turn();
        Assert.Same(connection, await secondTake.InTime());
    }

    [Fact]
    public async Task Take_TokenCanceledWhileWaiting_ThrowsAndTheNextTakeWorks()
    {
        AcceptQueue queue = new(_channel.Scheduling);
        using CancellationTokenSource source = new();
        Task<ConnectionContext?> take = queue.TakeAsync(source.Token).AsTask();
        source.Cancel();
        OperationCanceledException e =
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => take.InTime("canceled take"));
        Assert.Equal(source.Token, e.CancellationToken);
        Task<ConnectionContext?> next = queue.TakeAsync(default).AsTask();
        MegaPipeConnection connection = NewConnection();
        queue.Add(connection, _channel.Carried);
        Turn();
        Assert.Same(connection, await next.InTime());
    }

    [Fact]
    public async Task End_TakeWaits_ItAnswersNull()
    {
        AcceptQueue queue = new(_channel.Scheduling);
        Task<ConnectionContext?> take = queue.TakeAsync(default).AsTask();
        queue.End();
        Assert.Null(await take.InTime());
        Assert.Null(await queue.TakeAsync(default).InTime());
    }

    [Fact]
    public async Task End_ConnectionsLeft_TheyComeBeforeTheEnd()
    {
        AcceptQueue queue = new(_channel.Scheduling);
        MegaPipeConnection connection = NewConnection();
        queue.Add(connection, _channel.Carried);
        queue.End();
        Assert.Same(connection, await queue.TakeAsync(default).InTime());
        Assert.Null(await queue.TakeAsync(default).InTime());
    }

    [Fact]
    public async Task Take_WhileOneWaits_InvalidOperationAndTheFirstGoesOn()
    {
        AcceptQueue queue = new(_channel.Scheduling);
        Task<ConnectionContext?> take = queue.TakeAsync(default).AsTask();
        await Assert.ThrowsAsync<InvalidOperationException>(async () => await queue.TakeAsync(default));
        queue.End();
        Assert.Null(await take.InTime());
    }

    [Fact]
    public void Take_TokenThatLivesOn_KeepsNothingOfTheQueue()
    {
        using CancellationTokenSource source = new();
        WeakReference queue = TakeWithToken(source.Token);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        GC.Collect();
        Assert.False(queue.IsAlive, "The token still refers to the queue.");
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private WeakReference TakeWithToken(CancellationToken token)
    {
        AcceptQueue queue = new(_channel.Scheduling);
        Task<ConnectionContext?> take = queue.TakeAsync(token).AsTask();
        queue.Add(NewConnection(), _channel.Carried);
        Turn();
        Assert.True(take.IsCompletedSuccessfully);
        return new WeakReference(queue);
    }

    private void Turn()
    {
        _channel.Carried.Board(0);
        _channel.Turn();
        TransportChannel.Leave();
    }

    private MegaPipeConnection NewConnection() => new(
        _channel.Carried,
        new EndpointContext(
            new IPEndPoint(IPAddress.Loopback, 0), new MegaPipeTransportOptions(), NullLogger.Instance,
            new TrackingMemoryPoolFactory().Create()),
        handle: 0, local: null, remote: null);
}
