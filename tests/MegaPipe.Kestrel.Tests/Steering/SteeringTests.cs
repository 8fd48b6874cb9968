// Steering of a transport's endpoints: which mode it comes to and why, and that connections follow the table.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Listening;
using MegaPipe.Kestrel.Internal.Steering;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Steering;

[Trait("Transport", "MegaPipe"), Trait("Area", "Steering")]
public sealed class SteeringTests
{
    private const int Channels = 3;
    private const int Clients = 9;
    private const int Steered = 107;

    [Theory]
    [InlineData(MegaPipeSteering.Auto, 1, true, false, MegaPipeSteering.Hash, false)]
    [InlineData(MegaPipeSteering.Balanced, 1, true, false, MegaPipeSteering.Hash, false)]
    [InlineData(MegaPipeSteering.Auto, 2, true, false, MegaPipeSteering.Balanced, false)]
    [InlineData(MegaPipeSteering.Auto, 2, false, false, MegaPipeSteering.Hash, false)]
    [InlineData(MegaPipeSteering.Auto, 2, true, true, MegaPipeSteering.Hash, false)]
    [InlineData(MegaPipeSteering.Balanced, 2, true, true, MegaPipeSteering.Hash, true)]
    [InlineData(MegaPipeSteering.Balanced, 2, false, false, MegaPipeSteering.Hash, true)]
    [InlineData(MegaPipeSteering.Balanced, 2, true, false, MegaPipeSteering.Balanced, false)]
    [InlineData(MegaPipeSteering.Cpu, 2, true, false, MegaPipeSteering.Cpu, false)]
    [InlineData(MegaPipeSteering.Cpu, 2, true, true, MegaPipeSteering.Hash, true)]
    [InlineData(MegaPipeSteering.Hash, 2, true, false, MegaPipeSteering.Hash, false)]
    public void Choice_ByWhatThereIs(
        MegaPipeSteering asked, int channels, bool partitioned, bool shared, MegaPipeSteering mode, bool weaker)
    {
        SteeringChoice choice = SteeringChoice.Of(asked, channels, partitioned, shared, cpuSet: false);
        Assert.Equal((mode, weaker), (choice.Mode, choice.Weaker));
        Assert.NotEmpty(choice.Reason);
    }

    [Fact]
    public async Task Apply_TablesOneAfterTheOther_ConnectionsGoWhereTheySay()
    {
        using LogCapture logs = new();
        await using Rig rig = await Rig.StartAsync(logs, options => options.Steering = MegaPipeSteering.Balanced);
        Assert.True(rig.Flows.IsActive);
        Assert.Equal(FlowTable.InTurn(Channels), rig.Flows.ChannelOfGroup);
        for (int round = 0; round < 2 * Channels; round++)
        {
            ushort channel = (ushort)(round % Channels);
            Assert.True(rig.Flows.Apply([.. Enumerable.Repeat(channel, 64 << round)]));
            long before = rig.Accepted(channel);
            await rig.ConnectAsync(Clients);
            Assert.Equal(before + Clients, rig.Accepted(channel));
        }

        LogEntry entry = Assert.Single(logs.Entries, entry => entry.Id.Id == Steered);
        Assert.Equal(LogLevel.Debug, entry.Level);
        Assert.Contains("steered by Balanced, because it was asked for", entry.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Apply_TwoEndPoints_BothFollowTheOneTable()
    {
        using LogCapture logs = new();
        await using Rig rig = await Rig.StartAsync(logs, _ => { });
        await using MegaPipeConnectionListener second = await rig.BindAsync();
        Assert.True(rig.Flows.Apply([.. Enumerable.Repeat((ushort)2, 256)]));
        await rig.ConnectAsync(Clients);
        await rig.ConnectAsync(Clients, second);
        Assert.Equal(2 * Clients, rig.Accepted(2));
        await second.DisposeAsync();
        Assert.True(rig.Flows.Apply([.. Enumerable.Repeat((ushort)1, 64)]));
        await rig.ConnectAsync(Clients);
        Assert.Equal(Clients, rig.Accepted(1));
    }

    [Theory]
    [InlineData(MegaPipeSteering.Balanced)]
    [InlineData(MegaPipeSteering.Auto)]
    [InlineData(MegaPipeSteering.Cpu)]
    public async Task Bind_KernelTakesNoProgram_ServesByHashAndSaysSoOnce(MegaPipeSteering asked)
    {
        using LogCapture logs = new();
        await using Rig rig = await Rig.StartAsync(logs, options =>
        {
            options.Steering = asked;
            options.SteeringRefused = true;
        });
        Assert.False(rig.Flows.IsActive);
        await rig.ConnectAsync(Clients);
        LogEntry entry = Assert.Single(logs.Entries, entry => entry.Id.Id == Steered);
        Assert.Equal(LogLevel.Information, entry.Level);
        Assert.Contains(
            "steered by Hash, because the kernel takes no program", entry.Message, StringComparison.Ordinal);
    }

    /// <summary>On loopback the CPU that receives is the one that sends.</summary>
    [Fact]
    public async Task Move_ChannelToACpu_ItsConnectionsComeToTheChannel()
    {
        using LogCapture logs = new();
        await using Rig rig = await Rig.StartAsync(logs, options => options.Steering = MegaPipeSteering.Cpu);
        string all = string.Join(',', CpuAffinity.Allowed);
        for (int channel = 0; channel < Channels; channel++)
        {
            // One channel has every CPU now, the others none that they would not share.
            for (int other = 0; other < Channels; other++)
            {
                rig.Channels.Move(other, other == channel ? all : null);
            }

            long before = rig.Accepted(channel);
            await rig.ConnectAsync(Clients);
            Assert.Equal(before + Clients, rig.Accepted(channel));
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => rig.Channels.Move(Channels, all));
        Assert.Throws<ArgumentException>(() => rig.Channels.Move(0, "everywhere"));
        Assert.Throws<ArgumentException>(() => rig.Channels.Move(0, "1023"));
    }

    [Fact]
    public async Task SetChannelCpus_OfTheStatus_BindsTheCarrierAndLogs()
    {
        await using HostHarness host = await HostHarness.StartAsync(
            TransportKind.MegaPipeInline, context => Microsoft.AspNetCore.Http.HttpResponseWritingExtensions.WriteAsync(
                context.Response, $"{ThreadCpus()}"),
            setup => setup.Transport.MegaPipe = options => options.Channels = 1);
        string last = $"{CpuAffinity.Allowed[^1]}";
        host.Status!.SetChannelCpus(0, last);
        using HttpClient client = host.CreateClient();
        await client.GetStringAsync(new Uri("/", UriKind.Relative)); // the first one may start on the pool
        Assert.Equal(last, await client.GetStringAsync(new Uri("/", UriKind.Relative)));
        Assert.Equal(1, host.Logs.Count(108));
        host.Status.SetChannelCpus(0, null);
        await client.GetStringAsync(new Uri("/", UriKind.Relative)); // from the next turn on
        Assert.Equal(
            CpuListOf(CpuAffinity.Allowed), await client.GetStringAsync(new Uri("/", UriKind.Relative)));
        Assert.Throws<ArgumentOutOfRangeException>(() => host.Status.SetChannelCpus(1, null));
        Assert.Throws<InvalidOperationException>(() => new MegaPipeStatus().SetChannelCpus(0, null));
    }

    private static string CpuListOf(IReadOnlyList<int> cpus) => Internal.Configuration.CpuList.Format(cpus);

    private static string ThreadCpus() =>
        File.ReadLines("/proc/thread-self/status").First(line => line.StartsWith("Cpus_allowed_list:",
            StringComparison.Ordinal)).Split(':')[1].Trim();

    /// <summary>An endpoint on channels of its own.</summary>
    private sealed class Rig : IAsyncDisposable
    {
        private readonly LeakCheck _leaks = LeakCheck.Start();
        private readonly MegaPipeTransportOptions _options = new() { Channels = SteeringTests.Channels };
        private readonly ILogger _logger;
        private MegaPipeConnectionListener? _listener;

        private Rig(LogCapture logs, Action<MegaPipeTransportOptions> configure)
        {
            configure(_options);
            _logger = logs.CreateLogger("MegaPipe.Kestrel");
            Channels = SharedChannels.Start(_options, _logger, null);
        }

        public SharedChannels Channels { get; }

        public FlowTable Flows => Channels.Set.Flows;

        public static async Task<Rig> StartAsync(LogCapture logs, Action<MegaPipeTransportOptions> configure)
        {
            Rig rig = new(logs, configure);
            rig._listener = await rig.BindAsync();
            return rig;
        }

        public async Task<MegaPipeConnectionListener> BindAsync()
        {
            IPEndPoint any = new(IPAddress.Loopback, 0);
            ListenSocket socket = ListenSockets.Listen(any, _options, SteeringTests.Channels);
            EndpointContext endpoint = new(socket.Socket.LocalEndPoint!, _options, _logger, Channels.Pool);
            return await MegaPipeConnectionListener.BindAsync(
                socket, endpoint, _options, Channels.Set, () => { }).InTime();
        }

        public long Accepted(int channel) => Channels.Report()[channel].Counters["accepted"];

        public async Task ConnectAsync(int clients, MegaPipeConnectionListener? listener = null)
        {
            listener ??= _listener!;
            for (int i = 0; i < clients; i++)
            {
                using Socket client = Client.Create(listener.EndPoint);
                await client.ConnectAsync(listener.EndPoint).InTime();
                ConnectionContext? server = await listener.AcceptAsync().InTime();
                Assert.NotNull(server);
                await server.DisposeAsync().InTime();
            }
        }

        public async ValueTask DisposeAsync()
        {
            await _listener!.DisposeAsync();
            Channels.Stop();
            await _leaks.AssertNothingLeft(TransportKind.MegaPipe, null);
        }
    }
}
