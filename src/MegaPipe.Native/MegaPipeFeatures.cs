// What this machine allows, as a program or a person asks before using MegaPipe: tried once, never guessed by version.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MegaPipe.Native;

/// <summary>A mechanism that this kernel and process allow or refuse.</summary>
public sealed class MegaPipeFeature
{
    internal MegaPipeFeature(string name, string? reason)
    {
        Name = name;
        Reason = reason;
    }

    /// <summary>Short name, such as <c>fd_install</c>; see docs/GLOSSARY.md.</summary>
    public string Name { get; }

    /// <summary>Whether it was tried and works.</summary>
    public bool Available => Reason is null;

    /// <summary>Why not and what to do; null when available.</summary>
    public string? Reason { get; }
}

/// <summary>
/// Whether MegaPipe works here, tried once per process, by setting up a ring and using each mechanism (about a
/// millisecond). Never throws: where it cannot work, <see cref="Reason"/> says why.
/// </summary>
public static class MegaPipeFeatures
{
    private static readonly Lazy<Report> s_report = new(Probe);

    /// <summary>
    /// Whether channels can be created: Linux 6.1 or newer, io_uring allowed, <c>libmegapipe.so</c> found. Otherwise
    /// the stock Sockets transport serves.
    /// </summary>
    public static bool IsSupported => s_report.Value.Reason is null;

    /// <summary>The check that failed and what to do; null when supported.</summary>
    public static string? Reason => s_report.Value.Reason;

    /// <summary>
    /// Every mechanism that channels use, in a fixed order, with the reason where it is missing. Only the first,
    /// <c>ring</c>, is needed; the others make things faster or richer. Empty when the native library is not loaded.
    /// </summary>
    public static IReadOnlyList<MegaPipeFeature> Features => s_report.Value.Features;

    /// <summary>Whether one mechanism is there.</summary>
    internal static bool Has(Feature feature) => (s_report.Value.Available & (1u << (int)feature)) != 0;

    /// <summary>Why one mechanism is missing; null when it is there.</summary>
    internal static string? ReasonOf(Feature feature) => Features[(int)feature].Reason;

    private static Report Probe()
    {
        if (!OperatingSystem.IsLinux())
        {
            return new Report("io_uring exists on Linux only (6.1 or newer)", 0, []);
        }

        return NativeLibraryLoader.TryLoad() is { } reason ? new Report(reason, 0, []) : ProbeKernel();
    }

    // Not inlined: compiling it needs the library.
    [MethodImpl(MethodImplOptions.NoInlining)]
    private static unsafe Report ProbeKernel()
    {
        FeatureSet set = new();
        int result = NativeMethods.mp_probe(&set);
        MegaPipeFeature[] features = new MegaPipeFeature[FeatureSet.Count];
        for (int i = 0; i < features.Length; i++)
        {
            string name = Marshal.PtrToStringUTF8((nint)NativeMethods.mp_feature_name((uint)i)) ?? "";
            features[i] = new MegaPipeFeature(
                name, set.Has((Feature)i) ? null : set.ReasonOf((Feature)i) ?? "not available");
        }

        string? reason = result >= 0 ? null : set.ReasonOf(Feature.Ring) ?? ChannelError.Text(result);
        return new Report(reason, result >= 0 ? set.Available : 0, features);
    }

    private sealed record Report(string? Reason, uint Available, IReadOnlyList<MegaPipeFeature> Features);
}
