// Finds libmegapipe.so: beside the application, below runtimes/<rid>/native, then wherever the runtime looks (the
// application's deps.json, the package cache, the system's library path), there also by the name that `make install`
// gives it.
using System.Buffers.Binary;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MegaPipe.Native;

/// <summary>Finds the native library, and tells why when it cannot.</summary>
internal static class NativeLibraryLoader
{
    public const string FileName = "libmegapipe.so";

    private static readonly Lock s_lock = new();
    private static bool s_registered;
    private static nint s_library;

    /// <summary>What the runtime calls this platform's folder in a package, e.g. <c>linux-x64</c>.</summary>
    public static string RuntimeFolder
    {
        get
        {
            bool musl = RuntimeInformation.RuntimeIdentifier.Contains("musl", StringComparison.Ordinal);
            string architecture = RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant();
            return (musl ? "linux-musl-" : "linux-") + architecture;
        }
    }

    /// <summary>Makes the P/Invokes use this class's search. Must come before the first of them.</summary>
    public static void EnsureRegistered()
    {
        if (Volatile.Read(ref s_registered))
        {
            return;
        }

        lock (s_lock)
        {
            if (!s_registered)
            {
                NativeLibrary.SetDllImportResolver(typeof(NativeLibraryLoader).Assembly, Resolve);
                Volatile.Write(ref s_registered, true);
            }
        }
    }

    /// <summary>Loads the library; null, or why it cannot be used and what to do.</summary>
    public static string? TryLoad()
    {
        EnsureRegistered();
        lock (s_lock)
        {
            if (s_library == 0)
            {
                string? reason = Find(AppContext.BaseDirectory, RuntimeFolder, out s_library);
                if (reason is not null)
                {
                    return reason;
                }
            }
        }

        return CheckVersion();
    }

    // On its own: the JIT looks for the targets of calls without a GC transition when it compiles their caller.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static string? CheckVersion()
    {
        uint version = NativeMethods.mp_abi_version();
        return version == NativeMethods.AbiVersion ? null :
            $"{FileName} has interface version {version}, this program needs {NativeMethods.AbiVersion}: " +
            "deploy the library that was built with this program";
    }

    /// <summary>Tries each place in turn; null, or what was wrong with the last one that has the file.</summary>
    internal static string? Find(
        string baseDirectory, string runtimeFolder, out nint library, string name = NativeMethods.Library)
    {
        string? broken = null;
        foreach (string path in CandidatePaths(baseDirectory, runtimeFolder))
        {
            if (File.Exists(path) && TryLoadFile(path, out library, ref broken))
            {
                return null;
            }
        }

        foreach (string known in (string[])[name, $"lib{name}.so.{NativeMethods.AbiVersion}"])
        {
            if (NativeLibrary.TryLoad(known, typeof(NativeLibraryLoader).Assembly,
                DllImportSearchPath.SafeDirectories, out library))
            {
                return null;
            }
        }

        library = 0;

        return broken ??
            $"{FileName} is neither in {baseDirectory} nor in runtimes/{runtimeFolder}/native below it: publish the " +
            $"application for {runtimeFolder} with the package MegaPipe.Native, which has it, or build native/ with " +
            "make and copy native/build/" + FileName + " there";
    }

    internal static string[] CandidatePaths(string baseDirectory, string runtimeFolder) =>
    [
        Path.Combine(baseDirectory, FileName),
        Path.Combine(baseDirectory, "runtimes", runtimeFolder, "native", FileName),
    ];

    private static bool TryLoadFile(string path, out nint library, ref string? broken)
    {
        try
        {
            library = NativeLibrary.Load(path);
            return true;
        }
        catch (Exception exception) when (exception is DllNotFoundException or BadImageFormatException)
        {
            // The message has the dynamic linker's words, such as a missing libc version. Of another architecture it
            // says only that there is no such file.
            string cause = OtherArchitecture(path) ?? exception.Message.TrimEnd('.', '\n');
            broken = $"{path} cannot be loaded: {cause}. Use the library built for " +
                $"{RuntimeFolder}: publish the application for it, or build native/ on this system";
            library = 0;
            return false;
        }
    }

    /// <summary>What the file was built for, if not for this process.</summary>
    private static string? OtherArchitecture(string path)
    {
        // An ELF header: the magic number, and e_machine at 18, in the byte order that byte 5 says (2: big-endian).
        Span<byte> header = stackalloc byte[20];
        using FileStream file = File.OpenRead(path);
        if (file.ReadAtLeast(header, header.Length, throwOnEndOfStream: false) < header.Length ||
            !header.StartsWith("\u007fELF"u8))
        {
            return null;
        }

        ushort machine = header[5] == 2
            ? BinaryPrimitives.ReadUInt16BigEndian(header[18..])
            : BinaryPrimitives.ReadUInt16LittleEndian(header[18..]);
        string built = machine switch
        {
            3 => "x86",
            21 => "ppc64le",
            22 => "s390x",
            40 => "arm",
            62 => "x64",
            183 => "arm64",
            243 => "riscv64",
            258 => "loongarch64",
            _ => $"machine {machine}",
        };
        string here = RuntimeInformation.ProcessArchitecture.ToString().ToLowerInvariant();
        return built == here ? null : $"it is built for {built}, this process is {here}";
    }

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? searchPath)
    {
        if (name != NativeMethods.Library)
        {
            return 0;
        }

        lock (s_lock)
        {
            if (s_library == 0)
            {
                Find(AppContext.BaseDirectory, RuntimeFolder, out s_library);
            }

            // 0 sends the runtime on its own search, which ends in a DllNotFoundException that names the library.
            return s_library;
        }
    }
}
