// Back-pressure: where reading pauses and resumes, where flushes wait and go on, and what is never paused.
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class BackPressureContract(TransportKind kind)
{
    private const long FarBelow = 100L * 1024 * 1024;
    private const int SmallSocketBuffer = 16 * 1024;

    /// <summary>What a transport may take in beyond its limit: reads that were under way when it noticed.</summary>
    private const long OvershootBytes = 1024 * 1024;

    [Theory]
    [InlineData(30)]
    [InlineData(4_096)]
    [InlineData(65_536)]
    [InlineData(1_048_576)]
    public async Task Read_NobodyReads_ClientStopsAtTheLimit(int limit)
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = limit);
        ConnectedPair pair = await harness.ConnectAsync();
        long sent = (await pair.Client.SendUntilBlockedAsync(
            FarBelow, harness.Logs.Reached(LogCapture.ConnectionPause))).Sent;
        Assert.True(sent >= limit - 4095, $"stopped after {sent}");
        Assert.True(sent < FarBelow, $"never stopped, {sent} sent");
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionResume));

        Assert.True(pair.Server.Transport.Input.TryRead(out ReadResult result));
        Assert.InRange(result.Buffer.Length, limit, limit + OvershootBytes);
        pair.Server.Transport.Input.AdvanceTo(result.Buffer.End);
        await harness.Logs.Reached(LogCapture.ConnectionResume);
    }

    [Fact]
    public async Task Read_OneByteLessThanTheLimitAndThenThatByte_PausesAtTheLimit()
    {
        const int Limit = 1_000;
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = Limit);
        ConnectedPair pair = await harness.ConnectAsync();
        PipeReader input = pair.Server.Transport.Input;
        await pair.Client.SendAllAsync(new byte[Limit - 1]);
        await Eventually.True(() =>
        {
            bool all = false;
            if (input.TryRead(out ReadResult result))
            {
                all = result.Buffer.Length == Limit - 1;
                input.AdvanceTo(result.Buffer.Start);
            }

            return all;
        });
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionPause));
        await pair.Client.SendAllAsync(new byte[1]);
        await harness.Logs.Reached(LogCapture.ConnectionPause);
    }

    [Fact]
    public async Task Read_TakenWhileThePauseIsDecided_GoesOn()
    {
        // Each byte reaches the limit, and a thread that does nothing else takes it at that very moment.
        const int Bytes = 2_000;
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = 1);
        ConnectedPair pair = await harness.ConnectAsync();
        PipeReader input = pair.Server.Transport.Input;
        long taken = 0;
        bool end = false;
        Task take = RunAsync(() =>
        {
            while (!Volatile.Read(ref end))
            {
                if (input.TryRead(out ReadResult result))
                {
                    long length = result.Buffer.Length;
                    input.AdvanceTo(result.Buffer.End);
                    Volatile.Write(ref taken, taken + length);
                }
            }
        });
        Task send = RunAsync(() =>
        {
            try
            {
                for (int sent = 1; sent <= Bytes; sent++)
                {
                    pair.Client.Send([0]);
                    long limit = Environment.TickCount64 + (long)InTimeExtensions.Limit.TotalMilliseconds;
                    for (SpinWait wait = default; Volatile.Read(ref taken) != sent;)
                    {
                        Assert.True(Environment.TickCount64 < limit, $"{taken} of {sent} bytes");
                        wait.SpinOnce(sleep1Threshold: -1);
                    }
                }
            }
            finally
            {
                Volatile.Write(ref end, true);
            }
        });
        await send;
        await take.InTime();

        static Task RunAsync(Action action) => Task.Factory.StartNew(
            action, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);
    }

    [Fact]
    public async Task Read_PausedThenRead_EveryByteArrivesInOrder()
    {
        const int Total = 8 * 1024 * 1024;
        byte[] bytes = Client.Pattern(Total);
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = 64 * 1024);
        ConnectedPair pair = await harness.ConnectAsync();
        Task send = SendThenFin(pair.Client, bytes);
        int position = 0;
        // Reads only after each pause, so that pausing and resuming happen many times.
        for (int pauses = 1; pauses <= 10; pauses++)
        {
            await harness.Logs.Reached(LogCapture.ConnectionPause, pauses);

            // What was on its way when the pause began still arrives: reads until it is over.
            await Eventually.True(() =>
            {
                if (pair.Server.Transport.Input.TryRead(out ReadResult result))
                {
                    position = AssertContinues(bytes, position, result);
                    pair.Server.Transport.Input.AdvanceTo(result.Buffer.End);
                }

                return harness.Logs.Count(LogCapture.ConnectionResume) >= pauses;
            });
        }

        byte[] rest = await pair.Server.Transport.Input.ReadToEndAsync();
        Assert.True(bytes.AsSpan(position).SequenceEqual(rest), "the rest differs");
        await send.InTime();
        await Eventually.True(() =>
            harness.Logs.Count(LogCapture.ConnectionPause) == harness.Logs.Count(LogCapture.ConnectionResume));
    }

    [Fact]
    public async Task Read_ConsumedDownToHalf_ResumesOnlyBelowHalf()
    {
        const int Limit = 64 * 1024;
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = Limit);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Client.SendUntilBlockedAsync(FarBelow, harness.Logs.Reached(LogCapture.ConnectionPause));
        Assert.True(pair.Server.Transport.Input.TryRead(out ReadResult result));
        long excess = result.Buffer.Length - (Limit / 2);
        pair.Server.Transport.Input.AdvanceTo(result.Buffer.GetPosition(excess));
        // Another connection's round trip goes through the same loops: a resume would have happened before it.
        await RoundTrip(await harness.ConnectAsync());
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionResume));

        Assert.True(pair.Server.Transport.Input.TryRead(out result));
        Assert.Equal(Limit / 2, result.Buffer.Length);
        pair.Server.Transport.Input.AdvanceTo(result.Buffer.GetPosition(1));
        await harness.Logs.Reached(LogCapture.ConnectionResume);
    }

    [Fact]
    public async Task Read_ExaminedButNotConsumed_BufferGrowsBeyondTheLimit()
    {
        // A parser that needs more than the limit must get it: examined bytes do not count against it.
        const int Limit = 32 * 1024;
        const int Needed = 10 * Limit;
        byte[] bytes = Client.Pattern(Needed);
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = Limit);
        ConnectedPair pair = await harness.ConnectAsync();
        Task send = pair.Client.SendAllAsync(bytes);
        Assert.Equal(bytes, await pair.Server.Transport.Input.ReadExactlyAsync(Needed));
        await send.InTime();
    }

    [Theory]
    [InlineData(0L, false)]
    [InlineData(long.MaxValue, false)]
    [InlineData(0L, true)]
    public async Task Read_Unlimited_NeverPauses(long limit, bool nullLimits)
    {
        const int Total = 8 * 1024 * 1024;
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
        {
            settings.MaxReadBufferSize = nullLimits ? null : limit;
            settings.NullLimits = nullLimits;
        });
        ConnectedPair pair = await harness.ConnectAsync();
        // Completes only when the transport takes everything although nobody reads.
        await SendThenFin(pair.Client, new byte[Total]).InTime();
        await harness.Logs.Reached(LogCapture.ConnectionReadFin);
        Assert.Equal(0, harness.Logs.Count(LogCapture.ConnectionPause));
        Assert.Equal(Total, (await pair.Server.Transport.Input.ReadToEndAsync()).Length);
    }

    [Fact]
    public async Task Write_BelowTheLimit_FlushCompletesAtOnce()
    {
        const int Limit = 64 * 1024;
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxWriteBufferSize = Limit);
        ConnectedPair pair = await harness.ConnectAsync();
        ValueTask<FlushResult> flush = pair.Server.Transport.Output.WriteAsync(new byte[Limit - 1]);
        Assert.True(flush.IsCompletedSuccessfully);
        Assert.False((await flush).IsCompleted);
        await pair.Client.ReceiveExactlyAsync(Limit - 1);
    }

    [Fact]
    public async Task Write_ClientReadsNothing_FlushWaitsThenGoesOn()
    {
        const int Limit = 64 * 1024;
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxWriteBufferSize = Limit);
        ConnectedPair pair = await harness.ConnectAsync(
            beforeConnect: client => client.ReceiveBufferSize = SmallSocketBuffer);
        long written = 0;
        Task<FlushResult> flush;
        while (true)
        {
            Assert.True(written < FarBelow, "back-pressure never came");
            flush = pair.Server.Transport.Output.WriteAsync(new byte[Limit / 2]).AsTask();
            written += Limit / 2;
            if (await Task.WhenAny(flush, Task.Delay(TimeSpan.FromMilliseconds(300))) != flush)
            {
                break;
            }
        }

        Task<byte[]> received = pair.Client.ReceiveExactlyAsync((int)written);
        Assert.False((await flush.InTime()).IsCompleted);
        Assert.Equal(written, (await received.InTime()).Length);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Write_Unlimited_FlushNeverWaits(bool nullLimits)
    {
        const int Total = 32 * 1024 * 1024;
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
        {
            settings.MaxWriteBufferSize = nullLimits ? null : 0;
            settings.NullLimits = nullLimits;
        });
        ConnectedPair pair = await harness.ConnectAsync();
        for (int written = 0; written < Total; written += 64 * 1024)
        {
            ValueTask<FlushResult> flush = pair.Server.Transport.Output.WriteAsync(new byte[64 * 1024]);
            Assert.True(flush.IsCompletedSuccessfully);
            await flush;
        }

        Assert.Equal(Total, (await pair.Client.ReceiveExactlyAsync(Total)).Length);
    }

    [Fact]
    public async Task Write_FailsWhileReadingIsPaused_ConnectionClosedFires()
    {
        await using TransportHarness harness = TransportHarness.Create(kind, settings =>
            settings.MaxReadBufferSize = 16 * 1024);
        ConnectedPair pair = await harness.ConnectAsync();
        await pair.Client.SendUntilBlockedAsync(FarBelow, harness.Logs.Reached(LogCapture.ConnectionPause));
        pair.Client.Reset();
        Task writes = Task.Run(async () =>
        {
            while (!(await pair.Server.Transport.Output.WriteAsync(new byte[1000]).InTime()).IsCompleted)
            {
            }
        });
        await pair.Server.ConnectionClosed.WaitForCancellation().InTime();
        await writes.InTime();
    }

    private static async Task SendThenFin(Socket client, byte[] bytes)
    {
        await client.SendAllAsync(bytes);
        client.Shutdown(SocketShutdown.Send);
    }

    private static async Task RoundTrip(ConnectedPair pair)
    {
        for (int i = 0; i < 20; i++)
        {
            await pair.Client.SendAllAsync("p");
            await pair.Server.Transport.Input.ReadExactlyAsync(1);
            await pair.Server.Transport.Output.WriteAsync("p"u8.ToArray()).InTime();
            await pair.Client.ReceiveExactlyAsync(1);
        }
    }

    private static int AssertContinues(byte[] expected, int position, ReadResult result)
    {
        foreach (ReadOnlyMemory<byte> segment in result.Buffer)
        {
            Assert.True(
                segment.Span.SequenceEqual(expected.AsSpan(position, segment.Length)), $"differs near {position}");
            position += segment.Length;
        }

        return position;
    }
}
