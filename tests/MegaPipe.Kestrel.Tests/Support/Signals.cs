// Signals to this very process, for tests of what the host makes of them.
using System.Runtime.InteropServices;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class Signals
{
    private const int Sigterm = 15;

    public static void TerminateSelf() => Assert.Equal(0, Kill(Environment.ProcessId, Sigterm));

    [DllImport("libc", EntryPoint = "kill", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Kill(int process, int signal);
}
