// A child process that goes on reading what it was given while everything around it ends: memory that is gone would end
// the process.
using System.Buffers;
using System.IO.Pipelines;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace MegaPipe.Kestrel.Tests.Faults;

internal static class LateReader
{
    public const string Command = "late-reader";

    /// <summary>A whole host, stopped and disposed under a handler.</summary>
    public const string Host = "host";

    /// <summary>What may happen under a reader, in any order.</summary>
    public static readonly string[] Steps = ["stop", "dispose", "abort", "complete", "advance"];

    private const int Bytes = 200; // one segment in every mode

    /// <summary>
    /// The child: every order that begins with the given step. Answers with the number of late reads.
    /// </summary>
    public static async Task<int> RunAsync(string[] arguments)
    {
        TransportKind kind = Enum.Parse<TransportKind>(arguments[0]);
        if (arguments[1] == Host)
        {
            Console.WriteLine($"{ChildProcess.Ready}{await RunHostAsync(kind)}");
            return 0;
        }

        MegaPipeConnection.AsksWithin = TimeSpan.FromMilliseconds(20); // the client of an order asks for nothing more
        int reads = 0;
        foreach (string[] rest in Orders([.. Steps.Where(step => step != arguments[1])]))
        {
            reads += await RunOrderAsync(kind, [arguments[1], .. rest]);
        }

        Console.WriteLine($"{ChildProcess.Ready}{reads}");
        return 0;
    }

    private static async Task<int> RunOrderAsync(TransportKind kind, string[] order)
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync();
        ConnectedPair pair = await harness.ConnectAsync(listener);
        await pair.Client.SendAllAsync(Client.Pattern(Bytes));
        ReadResult read = await pair.Server.Transport.Input.WaitForAsync(Bytes);
        Memory<byte> write = pair.Server.Transport.Output.GetMemory(Bytes);
        return await Task.Factory.StartNew(
            () => Walk(read.Buffer.FirstSpan, write.Span, order, step => DoAsync(step).GetAwaiter().GetResult()),
            CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).InTime(
                string.Join(", ", order));

        async Task DoAsync(string step)
        {
            switch (step)
            {
                case "stop":
                    await listener.UnbindAsync();
                    await listener.DisposeAsync();
                    break;
                case "dispose":
                    await pair.Server.DisposeAsync();
                    break;
                case "abort":
                    pair.Server.Abort(new ConnectionAbortedException("because"));
                    await pair.Server.ConnectionClosed.WaitForCancellation();
                    break;
                case "complete":
                    await pair.Server.Transport.Input.CompleteAsync();
                    break;
                default:
                    try
                    {
                        pair.Server.Transport.Input.AdvanceTo(read.Buffer.End);
                    }
                    catch (InvalidOperationException)
                    {
                        // The reader was completed before.
                    }

                    break;
            }
        }
    }

    /// <summary>
    /// Reads from one span and writes to the other after each step, and once more when the channels have had time to
    /// end.
    /// </summary>
    private static int Walk(
        ReadOnlySpan<byte> span, Span<byte> write, string[] steps, Action<string> perform)
    {
        byte[] expected = Client.Pattern(Bytes);
        int reads = 0;
        foreach (string step in steps)
        {
            perform(step);
            GC.Collect();
            GC.WaitForPendingFinalizers();
            Read(span);
            write.Fill((byte)reads);
        }

        Thread.Sleep(10);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        Read(span);
        write.Clear();
        GC.KeepAlive(perform); // the connection: a reader of its data has it
        return reads;

        void Read(ReadOnlySpan<byte> late)
        {
            reads++;
            if (!late.SequenceEqual(expected))
            {
                throw new InvalidOperationException($"Read {reads} of {string.Join(", ", steps)} gave other bytes.");
            }
        }
    }

    private static async Task<string> RunHostAsync(TransportKind kind)
    {
        using ManualResetEventSlim ended = new();
        TaskCompletionSource reading = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource<string> sum = new(TaskCreationOptions.RunContinuationsAsynchronously);
        WebApplicationBuilder builder = WebApplication.CreateEmptyBuilder(new());
        builder.WebHost.UseKestrelCore();
        builder.WebHost.UseTransport(kind, new TransportSettings());
        builder.WebHost.ConfigureKestrel(options => options.Listen(System.Net.IPAddress.Loopback, 0));
        builder.Services.Configure<HostOptions>(options => options.ShutdownTimeout = TimeSpan.FromMilliseconds(300));
        WebApplication app = builder.Build();
        app.Run(async context =>
        {
            ReadResult read = await context.Request.BodyReader.ReadAtLeastAsync(Bytes);
            sum.SetResult(SumLate(read.Buffer.FirstSpan));
            GC.KeepAlive(context);
        });
        await app.StartAsync();
        int port = new Uri(app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!
            .Addresses.First()).Port;
        using Socket client = Client.Create(new System.Net.IPEndPoint(System.Net.IPAddress.Loopback, port));
        await client.ConnectAsync(System.Net.IPAddress.Loopback, port);
        await client.SendAllAsync($"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {Bytes + 1}\r\n\r\n");
        await client.SendAllAsync(Client.Pattern(Bytes));
        await reading.Task.InTime();
        try
        {
            await app.StopAsync();
        }
        catch (OperationCanceledException)
        {
            // The handler outlives the shutdown time-out.
        }

        await app.DisposeAsync();
        await Task.Delay(200); // the channels end
        GC.Collect();
        GC.WaitForPendingFinalizers();
        ended.Set();
        return await sum.Task.InTime();

        string SumLate(ReadOnlySpan<byte> span)
        {
            reading.SetResult();
            ended.Wait(InTimeExtensions.Limit);
            return $"{span.SequenceEqual(Client.Pattern(Bytes))}";
        }
    }

    private static IEnumerable<string[]> Orders(string[] steps)
    {
        if (steps.Length == 0)
        {
            yield return [];
        }

        foreach (string first in steps)
        {
            foreach (string[] rest in Orders([.. steps.Where(step => step != first)]))
            {
                yield return [first, .. rest];
            }
        }
    }
}
