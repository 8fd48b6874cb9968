// Which reads go past the leases, and which do not.
using MegaPipe.Kestrel.Internal.Connecting;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Connecting;

[Trait("Area", "LargeRead")]
public sealed class LargeReadTests
{
    private const int Body = 64 * 1024;

    [Fact]
    public async Task LargeBodies_LargeMemory_GoPastTheLeases()
    {
        const int Bodies = 50;
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipeInline);
        StreamPair pair = await harness.StreamsAsync();
        ConnectionStream stream = Assert.IsType<ConnectionStream>(pair.Stream);
        byte[] sent = Client.Pattern(Body);
        byte[] buffer = new byte[Body];
        for (int i = 0; i < Bodies; i++)
        {
            await ExchangeAsync(pair, sent, buffer);
            Assert.Equal(sent, buffer);
        }

        // One for each, but for the first ones. More where a body comes in parts.
        Assert.InRange(stream.Connection.Channel.ReceiveCount, Bodies / 2, long.MaxValue);
    }

    [Theory]
    [InlineData(100, Body)]
    [InlineData(Body, 4 * 1024 - 1)]
    public async Task SmallBodiesOrSmallMemory_StayInTheLeases(int body, int memory)
    {
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
        StreamPair pair = await harness.StreamsAsync();
        ConnectionStream stream = Assert.IsType<ConnectionStream>(pair.Stream);
        byte[] sent = Client.Pattern(body);
        byte[] buffer = new byte[memory];
        for (int i = 0; i < 40; i++)
        {
            await pair.Backend.SendAllAsync(sent);
            for (int left = body; left > 0;)
            {
                left -= await stream.ReadAsync(buffer.AsMemory(0, Math.Min(memory, left))).InTime();
            }
        }

        Assert.Equal(0, stream.Connection.Channel.ReceiveCount);
    }

    /// <summary>After large bodies small ones: they need no request of their own again.</summary>
    [Fact]
    public async Task SmallBodiesAgain_TheReadStaysArmed()
    {
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipeInline);
        StreamPair pair = await harness.StreamsAsync();
        ConnectionStream stream = Assert.IsType<ConnectionStream>(pair.Stream);
        byte[] buffer = new byte[Body];
        for (int i = 0; i < 10; i++)
        {
            await ExchangeAsync(pair, Client.Pattern(Body), buffer);
        }

        Assert.True(stream.Connection.Reader.TakesOnePiece);
        for (int i = 0; i < 20; i++)
        {
            await pair.Backend.SendAllAsync("small");
            await stream.ReadExactlyAsync(buffer.AsMemory(0, 5)).AsTask().InTime();
        }

        Assert.False(stream.Connection.Reader.TakesOnePiece);
    }

    /// <summary>
    /// The reader waits before anything comes, so what it does with the first piece is done on the channel, at once.
    /// </summary>
    private static async Task ExchangeAsync(StreamPair pair, byte[] sent, byte[] buffer)
    {
        Task read = pair.Stream.ReadExactlyAsync(buffer, 0, sent.Length).AsTask();
        await pair.Backend.SendAllAsync(sent);
        await read.InTime();
    }
}
