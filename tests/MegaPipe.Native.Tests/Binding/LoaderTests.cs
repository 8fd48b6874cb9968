// Where the native library is looked for, and what is said when it is not there.
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace MegaPipe.Native.Tests.Binding;

public sealed class LoaderTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("mp-loader-").FullName;

    private static string BuiltLibrary => Path.Combine(AppContext.BaseDirectory, NativeLibraryLoader.FileName);

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void Library_BesideTheApplication_IsFound()
    {
        File.Copy(BuiltLibrary, Path.Combine(_directory, NativeLibraryLoader.FileName));

        Assert.Null(Find(out nint library));
        Assert.True(NativeLibrary.TryGetExport(library, "mp_create", out _));
    }

    [Fact]
    public void Library_BelowRuntimes_IsFound()
    {
        string folder = Path.Combine(_directory, "runtimes", NativeLibraryLoader.RuntimeFolder, "native");
        Directory.CreateDirectory(folder);
        File.Copy(BuiltLibrary, Path.Combine(folder, NativeLibraryLoader.FileName));

        Assert.Null(Find(out nint library));
        Assert.True(NativeLibrary.TryGetExport(library, "mp_create", out _));
    }

    [Fact]
    public void Library_Missing_ReasonNamesTheFileAndTheRemedy()
    {
        string? reason = Find(out nint library);

        Assert.Equal(0, library);
        Assert.Contains(NativeLibraryLoader.FileName, reason, StringComparison.Ordinal);
        Assert.Contains(_directory, reason, StringComparison.Ordinal);
        Assert.Contains("make", reason, StringComparison.Ordinal);
    }

    [Fact]
    public void Library_Damaged_ReasonNamesTheFileAndTheLinkersWords()
    {
        string path = Path.Combine(_directory, NativeLibraryLoader.FileName);
        File.WriteAllText(path, "not a library, but long enough that the linker reads a header from it ............");

        string? reason = Find(out nint library);

        Assert.Equal(0, library);
        Assert.Contains($"{path} cannot be loaded", reason, StringComparison.Ordinal);
    }

    [Fact]
    public void Application_WithoutTheLibrary_ReportsNotSupportedAndDoesNotThrow()
    {
        foreach (string file in Directory.GetFiles(AppContext.BaseDirectory, "*.dll"))
        {
            File.Copy(file, Path.Combine(_directory, Path.GetFileName(file)));
        }

        // The C# library for libc lies below runtimes/; without it nothing but the report is to be expected either.
        string program = Path.Combine(_directory, "MegaPipe.Native.Tests.dll");
        string settings = Path.ChangeExtension(program, ".runtimeconfig.json");
        File.Copy(Path.Combine(AppContext.BaseDirectory, Path.GetFileName(settings)), settings);

        using Process process = Process.Start(
            new ProcessStartInfo(Environment.ProcessPath!, ["exec", program]) { RedirectStandardOutput = true })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();

        Assert.Equal(0, process.ExitCode);
        Assert.StartsWith("supported=False features=0", output, StringComparison.Ordinal);
        Assert.Contains(NativeLibraryLoader.FileName, output, StringComparison.Ordinal);
    }

    [Fact]
    public void RuntimeFolder_Here_IsTheRuntimesName()
    {
        Assert.Matches("^linux-(musl-)?(x64|arm64)$", NativeLibraryLoader.RuntimeFolder);
    }

    // Another name, because the linker finds a library that is loaded already by its name alone.
    private string? Find(out nint library) =>
        NativeLibraryLoader.Find(_directory, NativeLibraryLoader.RuntimeFolder, out library, "megapipe-nowhere");
}
