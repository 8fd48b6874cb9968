// The assembly's entry point: prints the feature report, for the test that runs it without the native library.
namespace MegaPipe.Native.Tests.Support;

internal static class ReportFeatures
{
    private static void Main()
    {
        Console.WriteLine($"supported={MegaPipeFeatures.IsSupported} features={MegaPipeFeatures.Features.Count}");
        Console.WriteLine(MegaPipeFeatures.Reason);
    }
}
