// What a sampling has found.
namespace MegaPipe.Kestrel.Stacks;

/// <summary>A stack that threads had while requests of an endpoint kept them.</summary>
/// <param name="Title">The endpoint, as <see cref="MegaPipeBlockedEndpoint.Title"/>.</param>
/// <param name="Channel">The channel whose thread it was; null: a thread of the pool.</param>
/// <param name="ThreadId">The number in the system of the thread that was seen first.</param>
/// <param name="Samples">How often it was seen, about once a millisecond and thread.</param>
/// <param name="Frames">Methods with their modules, the innermost first; <c>?</c> where a name is unknown.</param>
public sealed record MegaPipeStackSample(
    string Title, int? Channel, int ThreadId, int Samples, IReadOnlyList<string> Frames)
{
    /// <summary>
    /// The innermost frame that is neither of .NET nor of ASP.NET Core: where to look first. null where all are.
    /// </summary>
    public string? Where { get; init; }
}

/// <summary>What <see cref="MegaPipeStackSampler.SampleAsync"/> has found.</summary>
/// <param name="Stacks">
/// At most <see cref="MegaPipeStackSampler.MaxStacksOfEndpoint"/> for each endpoint, those seen most often first. Empty
/// where nothing blocked meanwhile.
/// </param>
/// <param name="Problem">Why nothing could be sampled, and the remedy; otherwise null.</param>
public sealed record MegaPipeStackReport(IReadOnlyList<MegaPipeStackSample> Stacks, string? Problem);
