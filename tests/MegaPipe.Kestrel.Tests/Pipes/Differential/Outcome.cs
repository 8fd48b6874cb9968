// What a call came to, as text that can be compared: a result with its bytes, or the exception's type and how it came.
using System.IO.Pipelines;
using System.Buffers;
using System.Security.Cryptography;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Pipes.Differential;

/// <summary>A call that may still be pending, at the reference and at the subject.</summary>
internal sealed class CallPair<TResult>(Task<TResult> reference, Task<TResult> subject, bool loose)
{
    public Task<TResult> Reference { get; } = reference;

    public Task<TResult> Subject { get; } = subject;

    /// <summary>The end was completed while the call was pending: only whether it fails is compared.</summary>
    public bool Loose { get; set; } = loose;
}

internal static class Outcome
{
    private static readonly TimeSpan s_limit = TimeSpan.FromSeconds(10);

    /// <summary>Makes a call; what it throws at once becomes the task's, as it is for whoever awaits.</summary>
    public static Task<TResult> Of<TResult>(Func<ValueTask<TResult>> call, bool onOtherThread)
    {
        if (onOtherThread)
        {
            // Only the call is made there: where it goes on is the pipe's to say.
            return Task.Run(() => new Started<TResult>(Of(call, onOtherThread: false))).GetAwaiter().GetResult().Task;
        }

        try
        {
            return call().AsTask();
        }
        catch (Exception e)
        {
            return Task.FromException<TResult>(e);
        }
    }

    /// <summary>What a plain call throws, or "done".</summary>
    public static string Of(Action call)
    {
        try
        {
            call();
            return "done";
        }
        catch (Exception e)
        {
            return Describe(e);
        }
    }

    public static string Of<TResult>(Task<TResult> finished, Func<TResult, string> describe)
    {
        try
        {
            Task<TResult> inTime = finished.InTime("a call that completed at the reference", s_limit);
            return describe(inTime.GetAwaiter().GetResult());
        }
        catch (Exception e) when (e is not Xunit.Sdk.XunitException)
        {
            return Describe(e);
        }
    }

    public static string Describe(ReadResult result) =>
        $"{result.Buffer.Length} bytes, hash {Hash(result.Buffer)}{Flags(result.IsCanceled, result.IsCompleted)}";

    public static string Describe(FlushResult result) => $"flushed{Flags(result.IsCanceled, result.IsCompleted)}";

    private static string Describe(Exception e) =>
        e is OperationCanceledException ? nameof(OperationCanceledException) : $"{e.GetType().Name}";

    private static string Flags(bool canceled, bool completed) =>
        (canceled ? ", canceled" : "") + (completed ? ", completed" : "");

    private static string Hash(ReadOnlySequence<byte> bytes)
    {
        // Where a piece ends differs between the two, so the bytes are hashed as one run.
        using IncrementalHash hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        foreach (ReadOnlyMemory<byte> segment in bytes)
        {
            hash.AppendData(segment.Span);
        }

        return Convert.ToHexString(hash.GetHashAndReset().AsSpan(0, 4));
    }

    private sealed record Started<TResult>(Task<TResult> Task);
}
