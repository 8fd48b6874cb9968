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
}
