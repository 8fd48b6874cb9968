// Random sequences of legal and illegal calls, made to the standard Pipe and to our pipe ends. A failure prints its
// seed and the shortest sequence found that shows it; CsCheck_Seed=<seed> in the environment repeats it, CsCheck_Iter
// runs more.
using CsCheck;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Pipes.Differential;

[Trait("Area", "PipeDifferential")]
public sealed class PipeDifferentialTests(ITestOutputHelper output)
{
    private const int Sequences = 2_000;

    private static long Iterations =>
        Environment.GetEnvironmentVariable("CsCheck_Iter") is null ? Sequences : Check.Iter;

    /// <summary>
    /// Buffers that are plenty; so few and small that much is copied when it arrives; and half of them with others, so
    /// that what is left unconsumed is copied out, too.
    /// </summary>
    [Theory]
    [InlineData(64, 16 * 1024, MegaPipeScheduling.Inline, 0)]
    [InlineData(8, 256, MegaPipeScheduling.Inline, 0)]
    [InlineData(8, 256, MegaPipeScheduling.Inline, 4)]
    [InlineData(16, 4 * 1024, MegaPipeScheduling.ThreadPool, 8)]
    public void Reader_AnyCalls_OutcomesOfTheStandardPipe(
        uint buffers, uint bytes, MegaPipeScheduling scheduling, uint held)
    {
        using StepChannel channel = new(buffers, bytes, scheduling);
        channel.Hold(held);
        ReaderStep.Sequences.Sample(
            steps => ReaderRun.Run(channel, steps), output.WriteLine, iter: Iterations, threads: 1,
            print: steps => string.Join(Environment.NewLine, steps.Select(step => step.ToString())));
    }

    /// <summary>
    /// No limit, limits that every byte or a few reach, and the default; nothing, everything or what is larger is sent
    /// without a copy.
    /// </summary>
    [Theory]
    [InlineData(0, MegaPipeScheduling.Inline, 1)]
    [InlineData(1, MegaPipeScheduling.Inline, int.MaxValue)]
    [InlineData(100, MegaPipeScheduling.ThreadPool, 3_000)]
    [InlineData(64 * 1024, MegaPipeScheduling.Inline, int.MaxValue)]
    [InlineData(64 * 1024, MegaPipeScheduling.Inline, 1)]
    public void Writer_AnyCalls_OutcomesOfTheStandardPipe(
        long limit, MegaPipeScheduling scheduling, int zeroCopyFrom)
    {
        using StepChannel channel = new(buffers: 8, bufferBytes: 256, scheduling);
        WriterStep.Sequences.Sample(
            steps => WriterRun.Run(channel, limit, steps, zeroCopyFrom), output.WriteLine, iter: Iterations, threads: 1,
            print: steps => string.Join(Environment.NewLine, steps.Select(step => step.ToString())));
    }
}
