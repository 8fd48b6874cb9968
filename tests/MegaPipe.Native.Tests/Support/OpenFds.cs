// The fds that a test may leak.
namespace MegaPipe.Native.Tests.Support;

internal static class OpenFds
{
    /// <summary>
    /// Sockets, pipes, rings, event and timer fds of this process. Files are left out: the runtime opens an
    /// assembly whenever a test is the first to need it, and keeps it open.
    /// </summary>
    public static int Count() => Targets().Count();

    /// <summary>How many there are of each kind.</summary>
    public static string Describe() => string.Join(", ", Targets()
        .GroupBy(target => target.Split(':')[0] is "anon_inode" ? target : target.Split(':')[0])
        .Select(group => $"{group.Key} x{group.Count()}"));

    private static IEnumerable<string> Targets() => Directory.GetFileSystemEntries("/proc/self/fd")
        .Select(path => new FileInfo(path).LinkTarget)
        .Where(target => target is not null && !target.StartsWith('/'))
        .Select(target => target!);
}
