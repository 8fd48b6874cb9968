// What the log says of an endpoint that blocks: how long, how often, which remedy, and how seldom.
using System.Collections.Concurrent;
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.Extensions.Logging;
using ThreadState = MegaPipe.Kestrel.Internal.Diagnostics.ThreadState;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Diagnostics")]
public sealed class BlockingWarningsTests
{
    private static readonly long s_millisecond = Stopwatch.Frequency / 1000;
    private readonly Messages _log = new();
    private readonly BlockingWarnings _warnings;

    public BlockingWarningsTests() => _warnings = new BlockingWarnings(_log, TimeSpan.FromMilliseconds(2));

    [Theory]
    [InlineData("WaitsForThread", 19, 2, false)]
    [InlineData("WaitsForThread", 20, 1, true)] // ten hand-over times: once is enough
    [InlineData("WaitsForSystem", 3, 3, true)] // often
    [InlineData("Computes", 900, 2, false)] // may have lacked a CPU
    [InlineData("Computes", 20, 3, true)]
    [InlineData("Computes", 19, 3, false)]
    [InlineData("Unknown", 1000, 1, true)]
    public async Task Warning_ComesWhenItTakesLongOrComesOften(string state, int milliseconds, int times, bool expected)
    {
        BlockingRow row = Row("/a");
        for (int i = 0; i < times; i++)
        {
            Say(row, milliseconds, Enum.Parse<ThreadState>(state));
        }

        Say(Row("/end"), 2000, ThreadState.Waits); // they are logged in some order, each in a moment
        await Eventually.True(() => _log.Of("/end") == 1);
        if (expected)
        {
            await Eventually.True(() => _log.Of("/a") == 1);
        }
        else
        {
            await Task.Delay(50);
            Assert.Equal(0, _log.Of("/a"));
        }
    }

    [Fact]
    public async Task Warning_OfAnEndpoint_IsSaidOnceAndOfEachOneForItself()
    {
        BlockingRow one = Row("/one"), two = Row("/two");
        for (int i = 0; i < 5; i++)
        {
            Say(one, 100, ThreadState.WaitsForThread);
            Say(two, 100, ThreadState.WaitsForThread);
        }

        await Eventually.True(() => _log.Of("/one") > 0 && _log.Of("/two") > 0);
        await Task.Delay(50);
        Assert.Equal((1, 1), (_log.Of("/one"), _log.Of("/two")));
    }

    [Theory]
    [InlineData("WaitsForThread", ".Result, .Wait(), lock")]
    [InlineData("WaitsForSystem", "synchronous I/O (files")]
    [InlineData("Computes", "It computed")]
    [InlineData("Unknown", "synchronous I/O and long computing")]
    public async Task Warning_HasTheRemedyForWhatWasFound(string state, string remedy)
    {
        Say(Row("/a"), 2000, Enum.Parse<ThreadState>(state));
        await Eventually.True(() => _log.Of("/a") == 1);
        Assert.Contains(remedy, Assert.Single(_log.Texts), StringComparison.Ordinal);
    }

    private static BlockingRow Row(string route) => new(new WorkDescription("HTTP/1.1", "GET", route, "x"));

    private void Say(BlockingRow row, int milliseconds, ThreadState state)
    {
        row.Add(milliseconds * s_millisecond, 0, state, isNew: true);
        _warnings.Say(row, 0, milliseconds * s_millisecond, state);
    }

    private sealed class Messages : ILogger
    {
        public ConcurrentQueue<string> Texts { get; } = new();

        public int Of(string route) =>
            Texts.Count(text => text.StartsWith($"GET {route} ", StringComparison.Ordinal));

        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter) => Texts.Enqueue(formatter(state, exception));
    }
}
