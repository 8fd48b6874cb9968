// Skips, with a reason that is counted, the scenarios whose load generator is not on this machine.
namespace MegaPipe.Crank.Tests;

[AttributeUsage(AttributeTargets.Method)]
internal sealed class LoadJobTheoryAttribute : TheoryAttribute
{
    public LoadJobTheoryAttribute(params string[] tools)
    {
        string[] missing = [.. tools.Append("taskset").Append("python3").Where(tool => !Repository.IsInstalled(tool))];
        if (!OperatingSystem.IsLinux())
        {
            Skip = "The load jobs run on Linux.";
        }
        else if (missing.Length > 0)
        {
            Skip = $"Not installed: {string.Join(", ", missing)}.";
        }
    }
}
