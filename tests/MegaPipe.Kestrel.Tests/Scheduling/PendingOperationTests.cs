// The waiting protocol alone: who releases, which token counts, and what a late callback may do.
using System.Runtime.CompilerServices;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class PendingOperationTests
{
    private static readonly ChannelScheduling s_scheduling = new(new MegaPipeTransportOptions(), channels: 1);

    private readonly Number _operation; // and the lock

    public PendingOperationTests() => _operation = new Number(s_scheduling);

    [Fact]
    public void TryRelease_Idle_False()
    {
        lock (_operation)
        {
            Assert.False(_operation.TryRelease());
            Assert.False(_operation.IsPending);
            Assert.False(_operation.IsWaiting);
        }
    }

    [Fact]
    public async Task TryRelease_Waiting_TrueOnceAndPendingUntilTheResultIsTaken()
    {
        Task<int> awaited = Begin();
        lock (_operation)
        {
            Assert.True(_operation.IsWaiting);
            Assert.True(_operation.TryRelease());
            Assert.False(_operation.TryRelease());
            Assert.True(_operation.IsPending);
            Assert.False(_operation.IsWaiting);
        }

        Assert.False(awaited.IsCompleted);
        _operation.Result = 7;
        _operation.Run();
        Assert.True(awaited.IsCompletedSuccessfully);
        Assert.Equal(7, await awaited);
        lock (_operation)
        {
            Assert.False(_operation.IsPending);
        }
    }

    [Fact]
    public async Task Begin_ReleasedBeforeItIsAwaited_ResultIsThereAtOnce()
    {
        lock (_operation)
        {
            _operation.Begin(default);
            Assert.True(_operation.TryRelease());
        }

        _operation.Result = 5;
        _operation.Run();
        ValueTask<int> awaited = _operation.Await();
        Assert.True(awaited.IsCompletedSuccessfully);
        Assert.Equal(5, await awaited);
    }

    [Fact]
    public async Task Token_CanceledWhileWaiting_ReleasesWithTheToken()
    {
        using CancellationTokenSource source = new();
        Task<int> awaited = Begin(source.Token);
        source.Cancel();
        OperationCanceledException e =
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => awaited.InTime("canceled operation"));
        Assert.Equal(source.Token, e.CancellationToken);
    }

    [Fact]
    public async Task Token_CanceledBetweenBeginAndAwait_Releases()
    {
        using CancellationTokenSource source = new();
        lock (_operation)
        {
            _operation.Begin(source.Token);
        }

        source.Cancel();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _operation.Await().InTime("canceled operation"));
    }

    [Fact]
    public async Task Token_CanceledAfterTheResult_IsNotTheNextOnes()
    {
        using CancellationTokenSource source = new();
        Task<int> first = Begin(source.Token);
        Release(1);
        Assert.Equal(1, await first.InTime());
        Task<int> second = Begin();
        source.Cancel();
        lock (_operation)
        {
            Assert.True(_operation.IsWaiting);
        }

        Release(2);
        Assert.Equal(2, await second.InTime());
    }

    [Fact]
    public void Token_AfterTheResult_KnowsNothingOfTheOperation()
    {
        using CancellationTokenSource source = new();
        WeakReference operation = Complete(source.Token);
        GC.Collect();
        Assert.False(operation.IsAlive, "The token of an operation that is over still refers to it.");

        // Whatever lives in its frame does not live when it has returned.
        [MethodImpl(MethodImplOptions.NoInlining)]
        static WeakReference Complete(CancellationToken token)
        {
            Number number = new(s_scheduling) { Result = 1 };
            lock (number)
            {
                number.Begin(token);
            }

            ValueTask<int> awaited = number.Await();
            lock (number)
            {
                Assert.True(number.TryRelease());
            }

            number.Run();
            Assert.True(awaited.IsCompletedSuccessfully);
            Assert.Equal(1, awaited.Result);
            return new WeakReference(number);
        }
    }

    [Fact]
    public async Task ReleaseRacesWithTokens_EveryOperationEndsOnceWithItsOwnOutcome()
    {
        const int Rounds = 20_000;
        using CancellationTokenSource end = new();
        int released = 0, canceled = 0;
        Thread releasing = new(() =>
        {
            while (!end.IsCancellationRequested)
            {
                bool run;
                lock (_operation)
                {
                    run = _operation.TryRelease();
                    if (run)
                    {
                        _operation.Result = 1;
                    }
                }

                if (run)
                {
                    _operation.RunOnPool();
                }
            }
        });
        releasing.Start();
        for (int i = 0; i < Rounds; i++)
        {
            CancellationTokenSource source = new();
            Task<int> awaited = Begin(source.Token);
            Task cancel = Task.Run(source.Cancel);
            try
            {
                Assert.Equal(1, await awaited.InTime());
                released++;
            }
            catch (OperationCanceledException e)
            {
                Assert.Equal(source.Token, e.CancellationToken);
                canceled++;
            }

            if (i % 2 == 0)
            {
                await cancel; // otherwise its callback may come during a later round
            }
        }

        await end.CancelAsync();
        Assert.True(releasing.Join(InTimeExtensions.Limit));
        Assert.Equal(Rounds, released + canceled);
    }

    private Task<int> Begin(CancellationToken token = default)
    {
        lock (_operation)
        {
            _operation.Begin(token);
        }

        return _operation.Await().AsTask();
    }

    private void Release(int result)
    {
        lock (_operation)
        {
            Assert.True(_operation.TryRelease());
            _operation.Result = result;
        }

        _operation.Run();
    }

    /// <summary>Comes to a number once there is one.</summary>
    private sealed class Number(ChannelScheduling scheduling)
        : PendingOperation<int>(new ContinuationCost(), scheduling)
    {
        public int? Result { get; set; }

        protected override int Finish(CancellationToken token)
        {
            if (Result is not { } result)
            {
                token.ThrowIfCancellationRequested();
                return -1; // released by a token that is not its own
            }

            Result = null;
            return result;
        }
    }
}
