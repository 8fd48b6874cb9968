// Where connecting ends: tables, ports, time, and the factory's own life.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connecting;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging.Abstractions;

namespace MegaPipe.Kestrel.Tests.Connecting;

[Trait("Area", "OutgoingLimits")]
public sealed class OutgoingLimitTests
{
    private const int PortTries = 20;

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Connect_TablesFull_SaysWhichOptionAndGoesOnWhenOneIsClosed(int channels)
    {
        await using ConnectHarness harness = ConnectHarness.Create(
            TransportKind.MegaPipe, settings => settings.MegaPipe = options =>
            {
                options.Channels = channels;
                options.MaxHandlesPerChannel = 64;
            });
        Socket listener = harness.Listen();
        List<ConnectionContext> connections = [];
        SocketException? full = null;
        while (full is null)
        {
            try
            {
                connections.Add(await harness.ConnectAsync(listener.LocalEndPoint!).InTime());
            }
            catch (SocketException error)
            {
                full = error;
            }
        }

        Assert.Equal(SocketError.TooManyOpenSockets, full.SocketErrorCode);
        Assert.Contains("MaxHandlesPerChannel is 64", full.Message, StringComparison.Ordinal);
        Assert.InRange(connections.Count, channels * 60, channels * 64);
        await connections[0].DisposeAsync().InTime();
        await harness.ConnectAsync(listener.LocalEndPoint!).InTime();
    }

    [Fact]
    public async Task Connect_PortTaken_TheErrorNamesTheRange()
    {
        await using PortRig rig = await PortRig.CreateAsync();
        int port = await rig.ConnectFromFreePortAsync();
        SocketException error = await Assert.ThrowsAsync<SocketException>(() => rig.ConnectAsync(port));
        Assert.Equal(SocketError.AddressNotAvailable, error.SocketErrorCode);
        (int low, int high) = SourcePorts.EphemeralRange();
        Assert.Contains(
            $"from {low} to {high} (net.ipv4.ip_local_port_range)", error.Message, StringComparison.Ordinal);

        // Another target may have the same port.
        using Socket other = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        other.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        other.Listen();
        MegaPipeConnection connection = await rig.ConnectAsync(port, other.LocalEndPoint);
        Assert.Equal(port, Assert.IsType<IPEndPoint>(connection.LocalEndPoint).Port);
    }

    [Theory]
    [InlineData("127.0.0.1")]
    [InlineData("::1")]
    public async Task SourcePorts_PerChannel_LowestBitsAreTheChannel(string address)
    {
        await using ConnectHarness harness = ConnectHarness.Create(
            TransportKind.MegaPipe, settings => settings.MegaPipe = options =>
            {
                options.Channels = 3;
                options.SourcePorts = MegaPipeSourcePorts.PerChannel;
            });
        Socket listener = harness.Listen(new IPEndPoint(IPAddress.Parse(address), 0));
        HashSet<int> seen = [];
        for (int i = 0; i < 30; i++)
        {
            // Not from here: what was awaited may go on on a channel, and what is opened there stays there.
            ConnectionContext connection =
                await Task.Run(() => harness.ConnectAsync(listener.LocalEndPoint!)).InTime();
            int channel = ((MegaPipeConnection)connection).Channel.Index;
            Assert.Equal(channel, Assert.IsType<IPEndPoint>(connection.LocalEndPoint).Port & 3);
            seen.Add(channel);
        }

        Assert.Equal(3, seen.Count);
    }

    /// <summary>
    /// On loopback the CPU that sends a packet also receives it, and the answer to it: the carrier's, whatever the
    /// port.
    /// </summary>
    [Theory]
    [InlineData(MegaPipeSourcePorts.PerChannel, 20)]
    [InlineData(MegaPipeSourcePorts.Any, 0)]
    public async Task SourcePorts_EachAnswerIsCountedOnce(MegaPipeSourcePorts ports, int counted)
    {
        await using ConnectHarness harness = ConnectHarness.Create(
            TransportKind.MegaPipe, settings => settings.MegaPipe = options =>
            {
                options.Channels = 1;
                options.CpuSet = CpuAffinity.Allowed[0].ToString(default(IFormatProvider));
                options.SourcePorts = ports;
            });
        Socket listener = harness.Listen();
        for (int i = 0; i < 20; i++)
        {
            await harness.ConnectAsync(listener.LocalEndPoint!).InTime();
        }

        long here = LeakCheck.Sum(harness.Status, "answers_here");
        Assert.Equal(counted, here + LeakCheck.Sum(harness.Status, "answers_elsewhere"));
        Assert.InRange(here, (counted + 1) / 2, counted); // all, unless a CPU was too busy to receive at once
    }

    /// <summary>Each of 4 channels goes through its own quarter of the range before a port comes again.</summary>
    [Fact]
    public void SourcePorts_Next_EveryPortOfTheClassOnce()
    {
        SourcePorts ports = new(3, 1001, 1040);
        for (int channel = 0; channel < 3; channel++)
        {
            int[] got = [.. Enumerable.Range(0, 10).Select(_ => ports.Next(channel))];
            Assert.Equal(Enumerable.Range(1001, 40).Where(port => (port & 3) == channel), got.Order());
            Assert.Contains(ports.Next(channel), got);
        }

        Assert.Equal(1001, new SourcePorts(1, 1001, 1001).Next(0));
        Assert.Equal(0, new SourcePorts(2, 1001, 1001).Next(0)); // its share is empty
        Assert.Equal(1001, new SourcePorts(2, 1001, 1001).Next(1));
    }

    [Fact]
    public async Task SourcePorts_AllTaken_TheKernelPicks()
    {
        using Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        bool got = false;
        for (int i = 0; i < PortTries && !got; i++)
        {
            int port = UnusedPort();
            MegaPipeTransportOptions options = new() { Channels = 1, Fallback = MegaPipeFallback.Fail };
            using MegaPipeConnectionFactory factory = new(options, NullLogger.Instance)
            {
                Ports = new SourcePorts(1, port, port),
            };
            await using ConnectionContext first = await factory.ConnectAsync(listener.LocalEndPoint!).InTime();
            await using ConnectionContext second = await factory.ConnectAsync(listener.LocalEndPoint!).InTime();
            got = Assert.IsType<IPEndPoint>(first.LocalEndPoint).Port == port;
            Assert.NotEqual(port, Assert.IsType<IPEndPoint>(second.LocalEndPoint).Port);
        }

        Assert.True(got);
    }

    [Theory]
    [InlineData(TransportKind.MegaPipe)]
    [InlineData(TransportKind.MegaPipeFallback)]
    public async Task ConnectTimeout_NobodyAnswers_TimedOut(TransportKind kind)
    {
        await using ConnectHarness harness = ConnectHarness.Create(kind);
        harness.Factory!.ConnectTimeout = TimeSpan.FromMilliseconds(50);
        Socket listener = await FullListener.CreateAsync(harness);
        SocketException error = await Assert.ThrowsAsync<SocketException>(
            () => harness.ConnectAsync(listener.LocalEndPoint!).InTime());
        Assert.Equal(SocketError.TimedOut, error.SocketErrorCode);
    }

    [Fact]
    public async Task Dispose_ConnectionsOpenAndOneBeingMade_AllEnd()
    {
        LeakCheck leaks = LeakCheck.Start();
        using (Socket listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp))
        {
            listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
            listener.Listen(0);
            MegaPipeConnectionFactory factory = new(
                new MegaPipeTransportOptions { Fallback = MegaPipeFallback.Fail }, NullLogger.Instance);
            ConnectionContext open = await factory.ConnectAsync(listener.LocalEndPoint!).InTime();
            await Eventually.True(() => listener.Poll(0, SelectMode.SelectRead));
            Task<ConnectionContext> waiting = factory.ConnectAsync(listener.LocalEndPoint!).AsTask();
            factory.Dispose();
            await Assert.ThrowsAsync<ObjectDisposedException>(() => waiting.InTime());
            Assert.NotNull(await open.Transport.Input.ReadFaultAsync());
            await open.DisposeAsync().InTime();
            await Assert.ThrowsAsync<ObjectDisposedException>(
                () => factory.ConnectAsync(listener.LocalEndPoint!).AsTask());
            factory.Dispose();
        }

        await leaks.AssertNothingLeft(TransportKind.MegaPipe, null);
    }

    [Fact]
    public async Task Connect_OtherEndPoint_NotSupported()
    {
        await using ConnectHarness harness = ConnectHarness.Create(TransportKind.MegaPipe);
        await Assert.ThrowsAsync<NotSupportedException>(
            () => harness.Factory!.ConnectAsync(new FileHandleEndPoint(0, FileHandleType.Auto)).AsTask());
    }

    /// <summary>A port that nobody used a moment ago; somebody may take it before it is connected from.</summary>
    private static int UnusedPort()
    {
        using Socket probe = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        probe.Bind(new IPEndPoint(IPAddress.Any, 0));
        return ((IPEndPoint)probe.LocalEndPoint!).Port;
    }

    /// <summary>Connections from given ports, on a channel.</summary>
    private sealed class PortRig : IAsyncDisposable
    {
        private readonly List<MegaPipeConnection> _connections = [];
        private ConnectHarness _harness = null!;
        private TransportChannel _channel = null!;
        private Socket _listener = null!;
        private OutgoingContext _context = null!;

        public static async Task<PortRig> CreateAsync()
        {
            PortRig rig = new() { _harness = ConnectHarness.Create(TransportKind.MegaPipe) };
            rig._listener = rig._harness.Listen();
            MegaPipeConnection connection =
                (MegaPipeConnection)await rig._harness.ConnectAsync(rig._listener.LocalEndPoint!).InTime();
            rig._channel = connection.Channel;
            rig._context = new OutgoingContext(
                new MegaPipeTransportOptions(), NullLogger.Instance, rig._harness.Memory.Create(), new HostMeter([]));
            return rig;
        }

        public async Task<MegaPipeConnection> ConnectAsync(int port, EndPoint? target = null)
        {
            MegaPipeConnection connection = await ConnectAttempt.ConnectAsync(
                _channel, _context, target ?? _listener.LocalEndPoint!, port, CancellationToken.None).InTime();
            _connections.Add(connection);
            return connection;
        }

        public async Task<int> ConnectFromFreePortAsync()
        {
            for (int i = 0; ; i++)
            {
                int port = UnusedPort();
                try
                {
                    MegaPipeConnection connection = await ConnectAsync(port);
                    Assert.Equal(port, Assert.IsType<IPEndPoint>(connection.LocalEndPoint).Port);
                    return port;
                }
                catch (SocketException) when (i < PortTries)
                {
                    // Taken meanwhile.
                }
            }
        }

        public async ValueTask DisposeAsync()
        {
            foreach (MegaPipeConnection connection in _connections)
            {
                await connection.DisposeAsync().InTime();
            }

            await _harness.DisposeAsync();
        }
    }
}
