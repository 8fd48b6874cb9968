// HTTP/2 when its host stops: who asks no more gets GOAWAY, and what is under way ends well.
using System.Buffers.Binary;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace MegaPipe.Kestrel.Tests.Host;

public abstract class GoAwayContract(TransportKind kind)
{
    private const int Streams = 5;
    private const int FrameHeader = 9;
    private const byte Data = 0;
    private const byte Headers = 1;
    private const byte Settings = 4;
    private const byte GoAway = 7;
    private const byte EndStream = 1;
    private const byte EndHeaders = 4;

    /// <summary>GET / over http, from HPACK's static table, with an authority.</summary>
    private static readonly byte[] s_get = [0x82, 0x84, 0x86, 0x41, 0x01, (byte)'a'];

    [Fact]
    public async Task Stop_StreamsAreUnderWay_GoAwayIsSeenAndEachEndsWell()
    {
        int entered = 0;
        TaskCompletionSource all = new(TaskCreationOptions.RunContinuationsAsynchronously);
        TaskCompletionSource release = new(TaskCreationOptions.RunContinuationsAsynchronously);
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                await context.Response.WriteAsync("a");
                if (Interlocked.Increment(ref entered) == Streams)
                {
                    all.SetResult();
                }

                await release.Task.InTime();
                await context.Response.WriteAsync("b");
            },
            setup => setup.Listen = listen => listen.Protocols = HttpProtocols.Http2);
        Socket client = await host.ConnectAsync();
        await client.SendAllAsync("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        byte[] requests = [.. Frame(Settings, 0, 0, []),
            .. Enumerable.Range(0, Streams).SelectMany(
                i => Frame(Headers, EndStream | EndHeaders, Id(i), s_get))];
        await client.SendAsync(requests).InTime();
        await all.Task.InTime();
        Task stop = host.StopAsync();
        Dictionary<int, string> bodies = [];
        HashSet<int> ended = [];
        List<(int Last, int Code)> goAways = [];
        while (await ReadFrameAsync(client) is { } frame)
        {
            switch (frame.Type)
            {
                case GoAway:
                    goAways.Add((BinaryPrimitives.ReadInt32BigEndian(frame.Payload),
                        BinaryPrimitives.ReadInt32BigEndian(frame.Payload.AsSpan(4))));
                    release.TrySetResult(); // not before: GOAWAY comes while streams are under way
                    break;
                case Data:
                    bodies[frame.Stream] = bodies.GetValueOrDefault(frame.Stream, "") +
                        System.Text.Encoding.ASCII.GetString(frame.Payload);
                    break;
            }

            if (frame.Type is Data or Headers && (frame.Flags & EndStream) != 0)
            {
                ended.Add(frame.Stream);
            }
        }

        await stop.InTime();
        int[] streams = [.. Enumerable.Range(0, Streams).Select(Id)];
        Assert.Equal(streams, ended.Order());
        Assert.All(streams, stream => Assert.Equal("ab", bodies[stream]));
        Assert.All(goAways, goAway => Assert.Equal(0, goAway.Code));
        Assert.Equal(int.MaxValue, goAways[0].Last);
        Assert.Equal(streams[^1], goAways[^1].Last);
    }

    private static int Id(int index) => (2 * index) + 1;

    private static byte[] Frame(byte type, byte flags, int stream, byte[] payload)
    {
        byte[] frame = new byte[FrameHeader + payload.Length];
        BinaryPrimitives.WriteInt32BigEndian(frame, payload.Length << 8 | type);
        frame[4] = flags;
        BinaryPrimitives.WriteInt32BigEndian(frame.AsSpan(5), stream);
        payload.CopyTo(frame, FrameHeader);
        return frame;
    }

    /// <summary>null: the end, which comes between frames.</summary>
    private static async Task<(byte Type, byte Flags, int Stream, byte[] Payload)?> ReadFrameAsync(Socket client)
    {
        byte[] header = new byte[FrameHeader];
        if (await client.ReceiveAsync(header.AsMemory(0, 1)).InTime() == 0)
        {
            return null;
        }

        (await client.ReceiveExactlyAsync(FrameHeader - 1)).CopyTo(header, 1);
        int length = BinaryPrimitives.ReadInt32BigEndian(header) >>> 8;
        return (header[3], header[4], BinaryPrimitives.ReadInt32BigEndian(header.AsSpan(5)),
            length == 0 ? [] : await client.ReceiveExactlyAsync(length));
    }
}

[Trait("Transport", "Sockets"), Trait("Area", "GoAway")]
public sealed class GoAwayOnSockets() : GoAwayContract(TransportKind.Sockets);

[Trait("Transport", "MegaPipe"), Trait("Area", "GoAway")]
public sealed class GoAwayOnMegaPipe() : GoAwayContract(TransportKind.MegaPipe);

[Trait("Transport", "MegaPipeInline"), Trait("Area", "GoAway")]
public sealed class GoAwayOnMegaPipeInline() : GoAwayContract(TransportKind.MegaPipeInline);
