// Where the repository's files are, seen from the test's output folder.
namespace MegaPipe.Crank.Tests;

internal static class Repository
{
    public static readonly string[] YamlFiles = ["transport.benchmarks.yml", "load.yml", "profiles.yml"];

    public static string Root { get; } = FindRoot();

    public static string Crank { get; } = Path.Combine(Root, "crank");

    /// <summary>The sample as this build made it: the same configuration and framework as the tests.</summary>
    public static string WebApp { get; } = BuiltLike(Path.Combine(Root, "samples", "WebApp"));

    /// <summary>The sample that a user copies.</summary>
    public static string Minimal { get; } = BuiltLike(Path.Combine(Root, "samples", "Minimal"));

    /// <summary>The gateway.</summary>
    public static string Proxy { get; } = BuiltLike(Path.Combine(Root, "samples", "Proxy"));

    /// <summary>The gRPC service.</summary>
    public static string Grpc { get; } = BuiltLike(Path.Combine(Root, "samples", "Grpc"));

    public static string Layers { get; } = BuiltLike(Path.Combine(Crank, "layers"));

    public static string Balance { get; } = BuiltLike(Path.Combine(Crank, "balance"));

    public static bool IsInstalled(string tool) => (Environment.GetEnvironmentVariable("PATH") ?? "")
        .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
        .Any(folder => File.Exists(Path.Combine(folder, tool)));

    private static string BuiltLike(string project) => Path.Combine(
        project, "bin", new DirectoryInfo(AppContext.BaseDirectory).Parent!.Name,
        new DirectoryInfo(AppContext.BaseDirectory).Name);

    private static string FindRoot()
    {
        for (DirectoryInfo? folder = new(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "MegaPipe.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException("The tests run outside the repository.");
    }
}
