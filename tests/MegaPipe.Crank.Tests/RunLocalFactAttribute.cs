// Skips, with a reason that is counted, where the local runner lacks wrk or its Python module.
using System.Diagnostics;

namespace MegaPipe.Crank.Tests;

[AttributeUsage(AttributeTargets.Method)]
internal sealed class RunLocalFactAttribute : FactAttribute
{
    private static readonly Lazy<string?> s_missing = new(Missing);

    public RunLocalFactAttribute() => Skip = s_missing.Value;

    private static string? Missing()
    {
        foreach (string tool in new[] { "wrk", "taskset", "python3" })
        {
            if (!Repository.IsInstalled(tool))
            {
                return $"Not installed: {tool}.";
            }
        }

        // The runner itself knows where to look for its modules.
        using Process probe = Process.Start(new ProcessStartInfo(Path.Combine(Repository.Crank, "run-local"), "--list")
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        })!;
        string error = probe.StandardError.ReadToEnd();
        probe.WaitForExit();
        return probe.ExitCode == 0 ? null : error.Trim();
    }
}
