// Hand-overs at seeded moments against the real channel: once step by step with a model that says what must have run,
// once with a watcher that races the carriers.
using System.Collections.Concurrent;
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Carrying;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Scheduling;

[Trait("Area", "Scheduling")]
public sealed class TurnModelTests(ITestOutputHelper output)
{
    private const int Carriers = 6;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(20260417)]
    public void HandOvers_AtSeededSteps_EverythingRunsOnceInOrderOnOneCarrier(int seed)
    {
        output.WriteLine($"seed {seed}");
        Model model = new(seed);
        model.Run(steps: 400);
    }

    [Theory]
    [InlineData(11)]
    [InlineData(12)]
    public void HandOvers_RacingTheCarriers_EverythingRunsOnceInOrderOnOneCarrier(int seed)
    {
        output.WriteLine($"seed {seed}");
        const int Producers = 3;
        const int PerProducer = 4_000;
        using TestChannel test = new(Carriers);
        ConcurrentQueue<int>[] ran = [.. Enumerable.Range(0, Producers).Select(_ => new ConcurrentQueue<int>())];
        int requested = 0, total = 0, handOvers = 0;
        using CancellationTokenSource end = new();
        Thread watcher = new(() =>
        {
            Random random = new(seed);
            while (!end.IsCancellationRequested)
            {
                handOvers += test.TryHandOver() ? 1 : 0;
                Spin(random.Next(20));
            }
        });
        watcher.Start();
        Thread[] producers =
        [
            .. Enumerable.Range(0, Producers).Select(producer => new Thread(() =>
            {
                Random random = new(seed + producer + 1);
                for (int i = 0; i < PerProducer;)
                {
                    int count = Math.Min(random.Next(1, 20), PerProducer - i);
                    test.Ready(
                    [
                        .. Enumerable.Range(i, count).Select(number =>
                        {
                            int microseconds = random.Next(50) == 0 ? 200 : random.Next(4);
                            return new TestContinuation(test.Scheduling, () =>
                            {
                                Spin(microseconds);
                                ran[producer].Enqueue(number);
                                test.Channel.Post(_ => Interlocked.Increment(ref requested));
                                Interlocked.Increment(ref total);
                            });
                        }),
                    ]);
                    i += count;
                }
            })),
        ];
        foreach (Thread producer in producers)
        {
            producer.Start();
        }

        TestChannel.WaitUntil(
            () => Volatile.Read(ref total) == Producers * PerProducer && Volatile.Read(ref requested) == total,
            () => $"{total} ran and {requested} asked, of {Producers * PerProducer}");
        end.Cancel();
        watcher.Join();
        output.WriteLine($"{handOvers} hand-overs");
        Assert.Equal(0, test.Overlaps);
        Assert.Equal(Producers * PerProducer, test.Channel.InlineCount);
        Assert.All(ran, numbers => Assert.Equal(PerProducer, numbers.Distinct().Count()));
        // A carrier that loses the channel is still inside its own continuation, so its neighbours may overtake it;
        // nothing else may be out of order.
        Assert.All(ran, numbers => Assert.True(
            Inversions(numbers) <= handOvers, $"{Inversions(numbers)} out of order with {handOvers} hand-overs"));
        Assert.True(handOvers > 0);
    }

    private static int Inversions(IEnumerable<int> numbers)
    {
        int inversions = 0, highest = -1;
        foreach (int number in numbers)
        {
            inversions += number < highest ? 1 : 0;
            highest = Math.Max(highest, number);
        }

        return inversions;
    }

    private static void Spin(int microseconds)
    {
        long end = Stopwatch.GetTimestamp() + (microseconds * Stopwatch.Frequency / 1_000_000);
        while (Stopwatch.GetTimestamp() < end)
        {
        }
    }

    /// <summary>
    /// What must be true between two steps: continuations started in the order in which they became ready, up to the
    /// first that waits for its gate and still has the channel.
    /// </summary>
    private sealed class Model(int seed)
    {
        private readonly Random _random = new(seed);
        private readonly List<Gated> _all = [];
        private readonly ConcurrentQueue<int> _started = new();
        private readonly List<Gated> _lost = [];
        private int _performed;
        private int _due;
        private int _next;
        private long _epoch;
        private Gated? _current;

        public void Run(int steps)
        {
            using TestChannel test = new(Carriers);
            for (int step = 0; step < steps; step++)
            {
                Step(test);
                Settle(test, $"seed {seed}, step {step}");
            }

            while (_current is not null || _lost.Count > 0)
            {
                LetGo(_current ?? _lost[0]);
                Settle(test, $"seed {seed}, at the end");
            }

            Assert.Equal(_all.Count, _next);
        }

        private void Step(TestChannel test)
        {
            switch (_random.Next(4))
            {
                case 0:
                    Gated[] batch = [.. Enumerable.Range(0, _random.Next(1, 50)).Select(_ => Make(test))];
                    test.Ready(batch.Select(gated => gated.Continuation).ToArray());
                    break;
                case 1 when _current is not null && test.FreeCarriers > 0:
                    Assert.Equal(_epoch, test.Channel.EpochInApplication);
                    Assert.Equal(_epoch + 1, test.Channel.TryTakeAway(_epoch));
                    Assert.Equal(-1, test.Channel.TryTakeAway(_epoch));
                    Assert.True(test.TryAssign(++_epoch));
                    _lost.Add(_current);
                    _current.Lost = true;
                    _current = null;
                    break;
                case 1 when _current is null:
                    Assert.Equal(-1, test.Channel.TryTakeAway(_epoch));
                    break;
                case 2 when _current is not null:
                    LetGo(_current);
                    break;
                case 3 when _lost.Count > 0:
                    LetGo(_lost[_random.Next(_lost.Count)]);
                    break;
                default:
                    break;
            }
        }

        private Gated Make(TestChannel test)
        {
            Gated gated = new(_all.Count, waits: _random.Next(8) == 0);
            gated.Continuation = new TestContinuation(test.Scheduling, () =>
            {
                _started.Enqueue(gated.Number);
                gated.Gate?.Wait(TimeSpan.FromSeconds(30));
                gated.StillCarried = test.Channel.IsCarriedByThisThread;
                test.Channel.Post(_ => Interlocked.Increment(ref _performed));
                gated.Done = true;
            });
            _all.Add(gated);
            return gated;
        }

        private void LetGo(Gated gated)
        {
            gated.Gate!.Set();
            TestChannel.WaitUntil(() => gated.Done, () => $"{gated.Number} never returned");
            Assert.Equal(!gated.Lost, gated.StillCarried);
            _due++;
            _lost.Remove(gated);
            _current = ReferenceEquals(_current, gated) ? null : _current;
        }

        /// <summary>Waits until the channel has gone as far as it can, and compares.</summary>
        private void Settle(TestChannel test, string where)
        {
            while (_current is null && _next < _all.Count)
            {
                Gated gated = _all[_next++];
                if (gated.Gate is not null)
                {
                    _current = gated;
                }
                else
                {
                    _due++;
                }
            }

            TestChannel.WaitUntil(
                () => _started.Count >= _next && (_current is not null) == (test.Channel.EpochInApplication >= 0),
                () => $"{where}: {_started.Count} of {_next} started");
            // Performed are all requests but those that a held-up carrier will come to only after this turn.
            TestChannel.WaitUntil(
                () => _current is not null || Volatile.Read(ref _performed) == _due,
                () => $"{where}: {_performed} of {_due} performed");
            Assert.Equal(Enumerable.Range(0, _next), _started);
            Assert.Equal(_next, test.Channel.Runs);
            TestChannel.WaitUntil(
                () => test.FreeCarriers == Carriers - 1 - _lost.Count, () => $"{where}: {test.FreeCarriers} free");
        }
    }

    private sealed class Gated(int number, bool waits)
    {
        public int Number { get; } = number;

        public ManualResetEventSlim? Gate { get; } = waits ? new() : null;

        public TestContinuation Continuation { get; set; } = null!;

        public bool Lost { get; set; }

        public volatile bool StillCarried;

        public volatile bool Done;
    }
}
