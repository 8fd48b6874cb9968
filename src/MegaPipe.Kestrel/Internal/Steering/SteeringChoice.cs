// How an endpoint's connections are steered: what was asked for, what can be had, and why.
namespace MegaPipe.Kestrel.Internal.Steering;

/// <param name="Mode">Never Auto.</param>
/// <param name="Reason">Half a sentence, after "because".</param>
/// <param name="Weaker">It is less than what was asked for.</param>
internal readonly record struct SteeringChoice(MegaPipeSteering Mode, string Reason, bool Weaker)
{
    /// <summary>Before the kernel was asked.</summary>
    public static SteeringChoice Of(MegaPipeSteering asked, int channels, bool partitioned, bool shared, bool cpuSet)
    {
        if (channels == 1)
        {
            return new(MegaPipeSteering.Hash, "there is one channel", false);
        }

        if (!partitioned)
        {
            return new(MegaPipeSteering.Hash, "the endpoint has one accept queue for all channels", asked is not (
                MegaPipeSteering.Auto or MegaPipeSteering.Hash));
        }

        return asked switch
        {
            MegaPipeSteering.Auto when shared => new(
                MegaPipeSteering.Hash, "others may share the address, and a program would steer theirs, too", false),
            MegaPipeSteering.Balanced when shared => new(
                MegaPipeSteering.Hash, "others may share the address, and a program would steer theirs, too", true),
            MegaPipeSteering.Auto => new(MegaPipeSteering.Balanced, "there are several channels", false),
            MegaPipeSteering.Cpu when shared && !cpuSet => new(
                MegaPipeSteering.Hash, "others may share the address, and no CpuSet says which CPU a channel has",
                true),
            _ => new(asked, "it was asked for", false),
        };
    }

    /// <summary>The kernel has refused the program.</summary>
    public SteeringChoice Refused(string error, bool cpuSet) => Mode == MegaPipeSteering.Cpu && cpuSet
        ? new(Mode, $"it was asked for; by SO_INCOMING_CPU only, as the kernel takes no program ({error})", true)
        : new(MegaPipeSteering.Hash, $"the kernel takes no program ({error})", true);
}
