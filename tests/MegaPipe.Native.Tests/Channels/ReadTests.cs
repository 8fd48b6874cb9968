// Leased reads: the memory, its life, pausing, and running out of buffers.
using System.Buffers;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using MegaPipe.Native.Tests.Support;

namespace MegaPipe.Native.Tests.Channels;

public sealed class ReadTests
{
    [Fact]
    public void Lease_HeldByTheReader_KeepsItsBytes()
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Ipv4, out Socket client);
        Assert.Equal(0, harness.Channel.ReadStart(handle));

        client.Send("first"u8);
        ChannelEvent first = harness.Next(Stage.Read);
        client.Send("second"u8);
        ChannelEvent second = harness.Next(Stage.Read);
        Memory<byte> firstMemory = harness.Channel.LeaseMemory(first);
        Memory<byte> secondMemory = harness.Channel.LeaseMemory(second);

        Assert.Equal(2ul, harness.Counters.LeasesOut);
        Assert.Equal("first"u8, firstMemory.Span);
        Assert.Equal("second"u8, secondMemory.Span);
        Assert.Same(harness.Channel.Buffer(first.Lease), Manager(firstMemory));
        Assert.Equal(first.Lease, harness.Channel.Buffer(first.Lease).Lease);
        harness.Channel.Release(first.Lease);
        Assert.Equal("second"u8, secondMemory.Span);
        harness.Channel.Release(second.Lease);
        Assert.Equal(0ul, harness.Counters.LeasesOut);
    }

    [Fact]
    public void Lease_Pinned_HasTheAddressThatTheEventBrought()
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Ipv4, out Socket client);
        Assert.Equal(0, harness.Channel.ReadStart(handle));
        client.Send("bytes"u8);
        ChannelEvent read = harness.Next(Stage.Read);

        using (MemoryHandle pin = harness.Channel.LeaseMemory(read).Pin())
        {
            Assert.Equal(read.Data, PinnedMemory.AddressOf(pin));
            Assert.Equal("bytes"u8, PinnedMemory.SpanAt(read.Data, read.Result));
        }

        harness.Channel.Release(read.Lease);
    }

    [Fact]
    public void Lease_AfterTheHandleWasRetired_IsStillReadable()
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Ipv4, out Socket client);
        Assert.Equal(0, harness.Channel.ReadStart(handle));
        client.Send("bytes"u8);
        ChannelEvent read = harness.Next(Stage.Read);

        harness.Close(handle);

        Assert.Equal("bytes"u8, harness.Channel.LeaseMemory(read).Span);
        Assert.Equal(0, harness.Channel.Release(read.Lease));
    }

    [Fact]
    public void Lease_AfterTheChannelWasDisposed_StaysReadable()
    {
        using Socket listener = SocketKind.Ipv4.Listen();
        Channel channel = Channel.Create(new ChannelConfig());
        ChannelEvent[] events = Channel.AllocateEvents(1);
        long patience = (long)ChannelHarness.Patience.TotalNanoseconds;
        Assert.Equal(0, channel.Accept(channel.Register((int)listener.Handle, 1), 1, AcceptFlags.None));
        channel.Flush();
        using Socket client = SocketKind.ConnectTo(listener);
        client.Send("bytes"u8);
        Assert.Equal(1, channel.Dispatch(events, patience));
        Assert.Equal(0, channel.ReadStart(events[0].Handle));
        Assert.Equal(1, channel.Dispatch(events, patience));
        Memory<byte> late = channel.LeaseMemory(events[0]);
        MemoryHandle pin = late.Pin();
        channel.Dispose();
        channel = null!;

        GC.Collect();
        GC.WaitForPendingFinalizers();
        using Channel next = Channel.Create(new ChannelConfig());
        Assert.Equal("bytes"u8, late.Span);
        Assert.Equal("bytes"u8, PinnedMemory.SpanAt(PinnedMemory.AddressOf(pin), late.Length));
        pin.Dispose();
    }

    [Fact]
    public void Lease_ThatNobodyCanReachAnyMore_IsMemoryOfTheNextChannel()
    {
        // No other test has channels of this size.
        ChannelConfig config = new() { BufferCount = 4, BufferBytes = 1968 };
        nint address = AddressOfThePast(config);
        GC.Collect();
        GC.WaitForPendingFinalizers();
        using Channel next = Channel.Create(config);
        Assert.Equal(address, PinnedMemory.AddressOf(next.Buffer(0).GetSpan()));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static nint AddressOfThePast(ChannelConfig config)
    {
        using Channel channel = Channel.Create(config);
        return PinnedMemory.AddressOf(channel.Buffer(0).GetSpan());
    }

    [Theory]
    [MemberData(nameof(SocketKind.All), MemberType = typeof(SocketKind))]
    public void ReadPause_ThenResume_LosesNothing(SocketKind kind)
    {
        const int Bytes = 1 << 20;
        using ChannelHarness harness = new(new ChannelConfig { BufferCount = 16, BufferBytes = 2048 });
        long handle = harness.Connection(kind, out Socket client);
        byte[] pattern = SocketExtensions.Pattern(Bytes);
        Task sending = Task.Run(() =>
        {
            for (int at = 0; at < Bytes;)
            {
                at += client.Send(pattern.AsSpan(at));
            }
        });
        MemoryStream received = new();
        int pauses = 0;

        Assert.Equal(0, harness.Channel.ReadStart(handle));
        while (received.Length < Bytes)
        {
            ChannelEvent read = harness.Next(Stage.Read);
            if (read.IsLeased)
            {
                received.Write(harness.Channel.LeaseMemory(read).Span);
                harness.Channel.Release(read.Lease);
                if (pauses < received.Length / 65536)
                {
                    int result = harness.Channel.ReadPause(handle);
                    Assert.True(result == 0 || result == ChannelError.Already, ChannelError.Text(result));
                    pauses++;
                }
            }

            if (!read.HasMore && received.Length < Bytes)
            {
                Assert.True(read.Result == ChannelError.Canceled, read.ToString());
                Assert.Equal(0, harness.Channel.ReadStart(handle));
            }
        }

        Assert.True(sending.Wait(ChannelHarness.Patience));
        Assert.Equal(pattern, received.ToArray());
        Assert.True(pauses > 10);
        harness.Close(handle);
    }

    [Fact]
    public void ReadStart_WithAllBuffersLeasedOut_GoesOnWhenTheyReturn()
    {
        const int Bytes = 64 * 1024;
        using ChannelHarness harness = new(new ChannelConfig { BufferCount = 4, BufferBytes = 1024 });
        long handle = harness.Connection(SocketKind.Unix, out Socket client);
        byte[] pattern = SocketExtensions.Pattern(Bytes);
        MemoryStream received = new();
        List<uint> leases = [];

        Assert.Equal(4, harness.Channel.BufferCount);
        Assert.Equal(0, harness.Channel.ReadStart(handle));
        client.Send(pattern);
        while (received.Length < Bytes)
        {
            ChannelEvent read = harness.Next(Stage.Read);
            Assert.True(read.Result > 0 && read.HasMore, read.ToString());
            received.Write(harness.Channel.LeaseMemory(read).Span);
            leases.Add(read.Lease);
            if (leases.Count == 4)
            {
                leases.ForEach(lease => Assert.Equal(0, harness.Channel.Release(lease)));
                leases.Clear();
            }
        }

        leases.ForEach(lease => Assert.Equal(0, harness.Channel.Release(lease)));
        Assert.Equal(pattern, received.ToArray());
        Assert.True(harness.Counters.BuffersStarved > 0);
        harness.Close(handle);
    }

    [Fact]
    public void ReadStart_Twice_IsBusy()
    {
        using ChannelHarness harness = new();
        long handle = harness.Connection(SocketKind.Ipv4, out _);

        Assert.Equal(0, harness.Channel.ReadStart(handle));
        Assert.Equal(ChannelError.Busy, harness.Channel.ReadStart(handle));
    }

    private static MemoryManager<byte> Manager(Memory<byte> memory)
    {
        Assert.True(System.Runtime.InteropServices.MemoryMarshal
            .TryGetMemoryManager<byte, MemoryManager<byte>>(memory, out MemoryManager<byte>? manager));
        return manager!;
    }
}
