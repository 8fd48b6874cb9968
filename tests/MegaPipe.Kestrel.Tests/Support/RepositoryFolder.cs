// Where the repository's files are, seen from the test's output folder.
namespace MegaPipe.Kestrel.Tests.Support;

internal static class RepositoryFolder
{
    private static readonly string s_root = FindRoot();

    public static string PathOf(string name) => Path.Combine(s_root, name);

    private static string FindRoot()
    {
        string? folder = AppContext.BaseDirectory;
        while (folder is not null && !File.Exists(Path.Combine(folder, "MegaPipe.sln")))
        {
            folder = Path.GetDirectoryName(folder);
        }

        return folder ?? throw new DirectoryNotFoundException("MegaPipe.sln");
    }
}
