// A channel whose carrier is stuck under Inline, where nobody looks after it unless channels are balanced.
using MegaPipe.Kestrel.Tests.Scheduling;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Balancing;

[Trait("Transport", "MegaPipe"), Trait("Area", "Balancing")]
public sealed class HungChannelTests
{
    private const int Connections = 40;

    [Fact]
    public async Task Inline_HandlerBlocks_NewConnectionsOfAllChannelsAreServed()
    {
        using ManualResetEventSlim release = new();
        await using HostHarness host = await HostHarness.StartAsync(
            TransportKind.MegaPipeInline,
            context =>
            {
                if (context.Request.Path == "/block")
                {
                    release.Wait(InTimeExtensions.Limit);
                }

                return context.Answer("x");
            },
            setup => setup.Transport.MegaPipe = options =>
            {
                options.Channels = 4;
                options.Steering = MegaPipeSteering.Balanced;
            });
        await host.AssertServesAsync();
        Task blocked = host.AssertServesAsync("/block");
        for (int i = 0; i < Connections; i++)
        {
            await host.AssertServesAsync();
        }

        Assert.False(blocked.IsCompleted);
        release.Set();
        await blocked.InTime();
    }

    /// <summary>
    /// Handlers block until a channel has no carrier left. Where the kernel takes no program, clients still come to its
    /// queue, and another channel accepts them.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Inline_NoCarrierIsLeft_OthersServeItsClientsUntilItIsBack(bool steeringRefused)
    {
        await using ChildProcess server = await ChildProcess.StartAsync(HungServer.Command, $"{steeringRefused}");
        string said = await server.ReadToEndAsync(4 * InTimeExtensions.Limit);
        Assert.True(
            said.Trim() == "hung without groups; clients served; back with all groups",
            $"{said}{await server.EndAsync()}");
    }
}
