// Where the native library is looked for, and what is said when it is not there.
using System.Buffers.Binary;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;

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
        Assert.Contains(NativeLibraryLoader.RuntimeFolder, reason, StringComparison.Ordinal);
        Assert.Contains("MegaPipe.Native", reason, StringComparison.Ordinal);
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
    public void Library_OfAnotherArchitecture_ReasonNamesBoth()
    {
        string path = Path.Combine(_directory, NativeLibraryLoader.FileName);
        byte[] image = File.ReadAllBytes(BuiltLibrary);
        bool x64 = RuntimeInformation.ProcessArchitecture == Architecture.X64;
        BinaryPrimitives.WriteUInt16LittleEndian(image.AsSpan(18), (ushort)(x64 ? 183 : 62)); // e_machine
        File.WriteAllBytes(path, image);

        string? reason = Find(out nint library);

        Assert.Equal(0, library);
        string expected = x64
            ? "it is built for arm64, this process is x64" : "it is built for x64, this process is arm64";
        Assert.Contains($"{path} cannot be loaded: {expected}.", reason, StringComparison.Ordinal);
        Assert.Contains(
            $"Use the library built for {NativeLibraryLoader.RuntimeFolder}", reason, StringComparison.Ordinal);
    }

    /// <summary>The floor that README names is the one that native/tests/check_portable looks for.</summary>
    [Fact]
    public void Library_Built_BindsToNoVersionOfTheCLibrary()
    {
        string image = Encoding.Latin1.GetString(File.ReadAllBytes(BuiltLibrary));
        string root = RepositoryRoot();
        string check = File.ReadAllText(Path.Combine(root, "native", "tests", "check_portable"));
        Match floor = Regex.Match(check, @"^FLOOR = \((\d+), (\d+)\)$", RegexOptions.Multiline);

        Assert.DoesNotMatch(@"GLIBC_\d", image);
        Assert.DoesNotMatch(@"lib(c|pthread)\.so", image);
        Assert.Contains(
            $"glibc {floor.Groups[1]}.{floor.Groups[2]} or newer, or musl",
            File.ReadAllText(Path.Combine(root, "README.md")), StringComparison.Ordinal);
    }

    [Fact]
    public void Application_WithoutTheLibrary_ReportsNotSupportedAndDoesNotThrow()
    {
        string output = RunWithoutItsOwnLibrary(libraryPath: null);

        Assert.StartsWith("supported=False features=0", output, StringComparison.Ordinal);
        Assert.Contains(NativeLibraryLoader.FileName, output, StringComparison.Ordinal);
    }

    [Fact]
    public void Application_WithTheInstalledLibrary_FindsItByItsVersionedName()
    {
        string installed = Path.Combine(_directory, "lib");
        Directory.CreateDirectory(installed);
        File.Copy(BuiltLibrary, Path.Combine(installed, $"libmegapipe.so.{NativeMethods.AbiVersion}"));

        string output = RunWithoutItsOwnLibrary(installed);

        Assert.StartsWith(
            $"supported={MegaPipeFeatures.IsSupported} features={MegaPipeFeatures.Features.Count}", output,
            StringComparison.Ordinal);
    }

    [Fact]
    public void RuntimeFolder_Here_IsTheRuntimesName()
    {
        Assert.Matches("^linux-(musl-)?(x64|arm64)$", NativeLibraryLoader.RuntimeFolder);
    }

    /// <summary>Runs this assembly as a program from a folder without libmegapipe.so; what it prints.</summary>
    private string RunWithoutItsOwnLibrary(string? libraryPath)
    {
        foreach (string file in Directory.GetFiles(AppContext.BaseDirectory, "*.dll"))
        {
            File.Copy(file, Path.Combine(_directory, Path.GetFileName(file)));
        }

        // The C# library for libc lies below runtimes/; without it nothing but the report is to be expected either.
        string program = Path.Combine(_directory, "MegaPipe.Native.Tests.dll");
        string settings = Path.ChangeExtension(program, ".runtimeconfig.json");
        File.Copy(Path.Combine(AppContext.BaseDirectory, Path.GetFileName(settings)), settings);

        ProcessStartInfo start = new(Environment.ProcessPath!, ["exec", program]) { RedirectStandardOutput = true };
        if (libraryPath is not null)
        {
            start.Environment["LD_LIBRARY_PATH"] = libraryPath;
        }

        using Process process = Process.Start(start)!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();

        Assert.Equal(0, process.ExitCode);
        return output;
    }

    private static string RepositoryRoot()
    {
        string? folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "MegaPipe.sln")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new DirectoryNotFoundException("MegaPipe.sln");
        }

        return folder;
    }

    // Another name, because the linker finds a library that is loaded already by its name alone.
    private string? Find(out nint library) =>
        NativeLibraryLoader.Find(_directory, NativeLibraryLoader.RuntimeFolder, out library, "megapipe-nowhere");
}
