// Awaiting a token.
namespace MegaPipe.Kestrel.Tests.Support;

internal static class CancellationExtensions
{
    public static async Task WaitForCancellation(this CancellationToken token)
    {
        TaskCompletionSource fired = new(TaskCreationOptions.RunContinuationsAsynchronously);
        using CancellationTokenRegistration registration = token.Register(() => fired.TrySetResult());
        await fired.Task;
    }
}
