// The end of a connection and who waits for it, at the same moment: nobody waits for ever.
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Transport;

[Trait("Area", "Close")]
public sealed class EndSignalTests
{
    /// <summary>Two threads meet in the few instructions between a look and a swap in one of some hundred.</summary>
    private const int Rounds = 200_000;

    private sealed class Shared
    {
        public EndSignal Signal;
        public volatile int Arrived;
    }

    [Fact]
    public void WaitAsync_BeforeAndAfterSet_CompletesWithIt()
    {
        EndSignal signal = default;
        Task before = signal.WaitAsync();
        Assert.False(before.IsCompleted);
        Assert.Same(before, signal.WaitAsync());
        signal.Set();
        Assert.True(before.IsCompletedSuccessfully);
        Assert.True(signal.WaitAsync().IsCompletedSuccessfully);
        EndSignal other = default;
        other.Set();
        other.Set();
        Assert.True(other.WaitAsync().IsCompletedSuccessfully);
    }

    [Fact]
    public void WaitAsync_BesideSet_Completes()
    {
        Shared[] rounds = [.. Enumerable.Range(0, Rounds).Select(_ => new Shared())];
        Thread setter = new(() =>
        {
            foreach (Shared round in rounds)
            {
                Meet(round);
                round.Signal.Set();
            }
        });
        setter.Start();
        Task[] waits = new Task[Rounds];
        for (int i = 0; i < Rounds; i++)
        {
            Meet(rounds[i]);
            waits[i] = rounds[i].Signal.WaitAsync();
        }

        Assert.True(setter.Join(InTimeExtensions.Limit));
        Assert.Equal(0, waits.Count(wait => !wait.IsCompleted));
    }

    private static void Meet(Shared round)
    {
        Interlocked.Increment(ref round.Arrived);
        for (SpinWait spin = default; round.Arrived < 2;)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }
    }
}
