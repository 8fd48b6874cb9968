// The table of endpoints that block, alone: what counts, how many rows there are, what the kernel's words mean.
using System.Diagnostics;
using MegaPipe.Kestrel.Internal.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using ThreadState = MegaPipe.Kestrel.Internal.Diagnostics.ThreadState;

namespace MegaPipe.Kestrel.Tests.Diagnostics;

[Trait("Area", "Diagnostics")]
public sealed class BlockingTableTests
{
    private static readonly long s_millisecond = Stopwatch.Frequency / 1000;
    private readonly BlockingTable _table = new(NullLogger.Instance, TimeSpan.FromMilliseconds(2)) { Enabled = true };
    private readonly object _channel = new();

    [Theory]
    [InlineData("202 0x7f 0x80", 1)]
    [InlineData("0 0x7f 0x80", 2)]
    [InlineData("45 0x7f", 2)]
    [InlineData("9 0x7f", 4)]
    [InlineData("-1 0x7ffd 0x55", 3)]
    [InlineData("running\n", 3)]
    [InlineData("", 0)]
    [InlineData("nonsense", 0)]
    public void StateOfAThread_IsReadFromTheKernelsLine(string line, int expected)
    {
        string[] names = ["Unknown", "WaitsForThread", "WaitsForSystem", "Computes", "Waits"];
        if (System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture ==
            System.Runtime.InteropServices.Architecture.Arm64)
        {
            line = line.Split(' ')[0] switch // futex, read, recvfrom, mmap
            {
                "202" => "98 0x7f",
                "0" => "63 0x7f",
                "45" => "207 0x7f",
                "9" => "222 0x7f",
                _ => line,
            };
        }

        Assert.Equal(names[expected], ThreadProbe.Parse(System.Text.Encoding.ASCII.GetBytes(line)).ToString());
    }

    [Fact]
    public async Task StateOfARealThread_ThatWaitsAndThatReads()
    {
        using ManualResetEventSlim release = new();
        int id = 0;
        Thread waits = new(() =>
        {
            Volatile.Write(ref id, ThreadProbe.CurrentId);
            release.Wait();
        })
        { IsBackground = true };
        waits.Start();
        await Support.Eventually.True(
            () => Volatile.Read(ref id) != 0 && ThreadProbe.Read(id) == ThreadState.WaitsForThread);
        release.Set();
        waits.Join();
        await Support.Eventually.True(() => ThreadProbe.Read(id) == ThreadState.Unknown);
        Assert.Equal(ThreadState.Computes, ThreadProbe.Read(ThreadProbe.CurrentId) switch
        {
            // A thread that reads its own line is in that very call.
            ThreadState.WaitsForSystem or ThreadState.Waits or ThreadState.Computes => ThreadState.Computes,
            ThreadState other => other,
        });
    }

    [Fact]
    public void TurnThatCameBack_BelowTheHandOverTime_IsNotCounted()
    {
        Begin("GET", "/a", 1);
        _table.End(_channel, 1, s_millisecond); // the rest was the runtime's
        Assert.Empty(_table.Report());
    }

    [Fact]
    public void TurnWhoseThreadWasNotSeenWaiting_CountsFromFourHandOverTimes()
    {
        Begin("GET", "/a", 1);
        _table.End(_channel, 1, 7 * s_millisecond);
        Assert.Empty(_table.Report());
        Begin("GET", "/a", 2);
        _table.End(_channel, 2, 8 * s_millisecond);
        Assert.Equal((1, 8.0), (_table.Report()[0].Count, _table.Report()[0].Total.TotalMilliseconds));
    }

    [Fact]
    public void TurnThatWasWithdrawn_IsNotCounted()
    {
        Begin("GET", "/a", 1).Withdraw();
        _table.End(_channel, 1, 100 * s_millisecond);
        Assert.Empty(_table.Report());
    }

    [Fact]
    public async Task TurnThatIsStuck_CountsBeforeItComesBack_AndOnce()
    {
        Begin("GET", "/a", 1).Confirm();
        await Support.Eventually.True(() => _table.Report() is [{ Count: 1, StuckNow: 1 }]);
        Assert.True(_table.Report()[0].LongestNow >= BlockingTable.StuckAfter * 0.9);
        _table.End(_channel, 1, 2000 * s_millisecond);
        MegaPipeBlockedEndpoint row = Assert.Single(_table.Report());
        Assert.Equal((1, 0, 2000.0), (row.Count, row.StuckNow, row.Total.TotalMilliseconds));
    }

    [Fact]
    public void TurnThatNobodyLookedAt_CountsFromTenHandOverTimes()
    {
        // It has a thread, and was back before the watcher could look at that.
        StuckTurn Begin(long epoch) => _table.Begin(
            _channel, 0, epoch, new Work(new WorkDescription("HTTP/1.1", "GET", "/a", "x")), ThreadProbe.CurrentId,
            Stopwatch.GetTimestamp());
        Begin(1);
        _table.End(_channel, 1, 19 * s_millisecond);
        Assert.Empty(_table.Report());
        Begin(2);
        _table.End(_channel, 2, 20 * s_millisecond);
        Assert.Equal(20.0, Assert.Single(_table.Report()).Worst.TotalMilliseconds);
    }

    [Fact]
    public void TurnThatHasJustBegun_IsNotShownAsStuck()
    {
        BlockingTable patient = new(NullLogger.Instance, TimeSpan.FromHours(1)) { Enabled = true };
        Work work = new(new WorkDescription("HTTP/1.1", "GET", "/a", "x"));
        patient.Begin(_channel, 0, 1, work, 0, Stopwatch.GetTimestamp());
        Assert.Empty(patient.Report());
        patient.Begin(_channel, 0, 2, work, 0, Stopwatch.GetTimestamp() - (3601 * Stopwatch.Frequency));
        Assert.Equal(1, Assert.Single(patient.Report()).StuckNow);
    }

    [Fact]
    public void WhatTheStuckThreadSays_NamesItUntilItHasARoute()
    {
        WorkDescription unrouted = new("HTTP/1.1", "GET", null, "(no endpoint)");
        _table.Begin(_channel, 0, 1, new Work(unrouted), 0, Stopwatch.GetTimestamp());
        _table.Tell(_channel, 1, unrouted with { Route = "/first", Name = "x" });
        _table.Tell(_channel, 1, unrouted with { Route = "/second", Name = "x" }); // a later request
        _table.Tell(_channel, 2, unrouted with { Route = "/other", Name = "x" });
        _table.End(_channel, 1, 100 * s_millisecond);
        Assert.Equal("GET /first", Assert.Single(_table.Report()).Title);
    }

    [Fact]
    public void RouteThatIsKnownLater_IsShownWhileItIsStuck()
    {
        Work work = new(new WorkDescription("HTTP/1.1", "GET", null, "(no endpoint)"));
        _table.Begin(_channel, 0, 1, work, 0, Stopwatch.GetTimestamp() - (100 * s_millisecond));
        Assert.Equal("GET (no endpoint)", Assert.Single(_table.Report()).Title);
        work.Description = new WorkDescription("HTTP/1.1", "GET", "/a", "x");
        Assert.Equal("GET /a", Assert.Single(_table.Report()).Title);
    }

    [Fact]
    public void Row_HasItsWorstTheChannelsAndWhatWasFoundMost()
    {
        BlockingRow row = new(new WorkDescription("HTTP/1.1", "GET", "/a", "x"));
        (long Milliseconds, int Channel, ThreadState State)[] times =
        [
            (10, 1, ThreadState.WaitsForThread), (40, 0, ThreadState.Unknown), (20, 1, ThreadState.WaitsForThread),
            (5, BlockingRow.Pool, ThreadState.Unknown), (5, 1, ThreadState.WaitsForSystem), (5, 1, ThreadState.Unknown),
        ];
        foreach ((long milliseconds, int channel, ThreadState state) in times)
        {
            row.Add(milliseconds * s_millisecond, channel, state, isNew: true);
        }

        MegaPipeBlockedEndpoint report = row.Report([], 0);
        Assert.Equal((6, 1, 85.0, 40.0), (
            report.Count, report.OnPool, report.Total.TotalMilliseconds, report.Worst.TotalMilliseconds));
        Assert.Equal(MegaPipeBlockingCause.Wait, report.Cause); // most, and neither first nor last
        Assert.Equal([(0, 1L), (1, 4L)], report.HandOversByChannel.Select(pair => (pair.Key, pair.Value)).Order());
    }

    [Fact]
    public void Rows_OfTooManyEndpoints_ShareTheLast()
    {
        for (int i = 0; i < 2 * BlockingTable.MaxRows; i++)
        {
            _table.Add(new WorkDescription("HTTP/1.1", "GET", $"/{i}", "x"), 10 * s_millisecond);
        }

        IReadOnlyList<MegaPipeBlockedEndpoint> rows = _table.Report();
        Assert.Equal(BlockingTable.MaxRows + 1, rows.Count);
        Assert.Equal(BlockingTable.MaxRows, rows.Single(row => row.Name == "all other endpoints").Count);
    }

    [Fact]
    public void Rows_AreSortedByTheTimeThatTheyKept()
    {
        _table.Add(new WorkDescription("HTTP/1.1", "GET", "/short", "x"), 10 * s_millisecond);
        _table.Add(new WorkDescription("HTTP/1.1", "GET", "/long", "x"), 30 * s_millisecond);
        _table.Add(new WorkDescription("HTTP/1.1", "GET", "/short", "x"), 10 * s_millisecond);
        Assert.Equal(["GET /long", "GET /short"], _table.Report().Select(row => row.Title));
    }

    private StuckTurn Begin(string method, string route, long epoch) => _table.Begin(
        _channel, 0, epoch, new Work(new WorkDescription("HTTP/1.1", method, route, "x")), 0,
        Stopwatch.GetTimestamp());

    private sealed class Work(WorkDescription description) : IDescribedWork
    {
        public WorkDescription Description { get; set; } = description;

        public WorkDescription? Describe() => Description;
    }
}
