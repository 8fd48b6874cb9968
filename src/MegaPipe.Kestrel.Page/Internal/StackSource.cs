// Stacks of what blocks, for a page whose app has MegaPipe.Kestrel.Stacks.
namespace MegaPipe.Kestrel.Page.Internal;

/// <summary>Registered by <c>AddMegaPipeStacks()</c>; without it the page has no button.</summary>
internal interface IStackSource
{
    Task<StackState> SampleAsync(TimeSpan duration, CancellationToken token);
}

/// <summary>What <c>/stacks</c> answers. docs/DIAGNOSE.md lists the fields.</summary>
internal sealed record StackState(string? Problem, IReadOnlyList<BlockedStackState> Stacks);

internal sealed record BlockedStackState(
    string Title, int? Channel, int ThreadId, int Samples, string? Where, IReadOnlyList<string> Frames);
