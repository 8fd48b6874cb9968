// This assembly started again as a process of its own, for tests that change or fill a whole process.
namespace MegaPipe.Kestrel.Tests.Support;

internal static class ChildProcess
{
    public static Task<int> Main(string[] args)
    {
        Console.Error.WriteLine($"Unknown child command: {string.Join(' ', args)}");
        return Task.FromResult(2);
    }
}
