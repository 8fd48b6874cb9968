// What the health checks may be told.
namespace MegaPipe.Kestrel;

/// <summary>Options of the health checks that <c>AddHealthChecks().AddMegaPipe()</c> adds.</summary>
public sealed class MegaPipeHealthOptions
{
    /// <summary>
    /// How long reads must have gone on without a free receive buffer until that is "degraded". Default 10 s.
    /// </summary>
    public TimeSpan StarvedFor { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>For how long a failed accept counts as "degraded". Default 30 s.</summary>
    public TimeSpan AcceptErrorsFor { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// How long the host goes on accepting after it was told to stop, while the readiness check already says no: time
    /// for a load balancer to notice. Within the host's shutdown time-out. Default zero: the host stops at once.
    /// </summary>
    public TimeSpan DrainDelay { get; set; } = TimeSpan.Zero;
}
