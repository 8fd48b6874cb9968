// The mirrors against C: a program compiled from megapipe.h prints sizes, offsets and values.
using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace MegaPipe.Native.Tests.Binding;

public sealed class LayoutTests
{
    private static readonly Dictionary<string, long> s_c = RunLayout();

    public static TheoryData<string, string, int> Structs => new()
    {
        { "mp_event", nameof(ChannelEvent), Unsafe.SizeOf<ChannelEvent>() },
        { "mp_config", nameof(ChannelConfig), Unsafe.SizeOf<ChannelConfig>() },
        { "mp_counters", nameof(ChannelCounters), Unsafe.SizeOf<ChannelCounters>() },
        { "mp_features", nameof(FeatureSet), Unsafe.SizeOf<FeatureSet>() },
        { "iovec", nameof(IoVector), Unsafe.SizeOf<IoVector>() },
    };

    public static TheoryData<string, string> Enums => new()
    {
        { "MP_STAGE_", nameof(Stage) },
        { "MP_EVENT_", nameof(EventFlags) },
        { "MP_CONFIG_", nameof(ChannelConfigFlags) },
        { "MP_ACCEPT_", nameof(AcceptFlags) },
        { "MP_SHUT_", nameof(ShutDirection) },
        { "MP_FEATURE_", nameof(Feature) },
    };

    [Theory]
    [MemberData(nameof(Structs))]
    public void Struct_MirroredInManagedCode_HasTheSameSize(string c, string mirror, int bytes)
    {
        Assert.True(s_c[c] == bytes, $"{c} has {s_c[c]} bytes, {mirror} has {bytes}");
    }

    [Theory]
    [MemberData(nameof(Structs))]
    public void Struct_MirroredInManagedCode_HasTheSameFieldsAtTheSameOffsets(string c, string mirror, int bytes)
    {
        Type type = typeof(Channel).Assembly.GetType($"MegaPipe.Native.{mirror}", throwOnError: true)!;
        Dictionary<string, long> managed = type
            .GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic)
            .ToDictionary(field => Plain(field.Name), field => (long)Marshal.OffsetOf(type, field.Name));
        Dictionary<string, long> native = s_c.Where(line => line.Key.StartsWith(c + ".", StringComparison.Ordinal))
            .ToDictionary(line => Plain(line.Key[(c.Length + 1)..]), line => line.Value);

        Assert.Equal(native.OrderBy(field => field.Value), managed.OrderBy(field => field.Value));
        Assert.True(bytes > 0);
    }

    [Theory]
    [MemberData(nameof(Enums))]
    public void Enum_MirroredInManagedCode_HasTheSameNamesAndValues(string prefix, string mirror)
    {
        Type type = typeof(Channel).Assembly.GetType($"MegaPipe.Native.{mirror}", throwOnError: true)!;
        Dictionary<string, long> managed = Enum.GetNames(type).Where(name => name != "None")
            .ToDictionary(Plain, name => Convert.ToInt64(Enum.Parse(type, name), CultureInfo.InvariantCulture));
        Dictionary<string, long> native = s_c
            .Where(line => line.Key.StartsWith(prefix, StringComparison.Ordinal) && line.Key != "MP_FEATURE_COUNT")
            .ToDictionary(line => Plain(line.Key[prefix.Length..]), line => line.Value);

        Assert.Equal(native.OrderBy(value => value.Value), managed.OrderBy(value => value.Value));
    }

    [Fact]
    public void Constants_MirroredInManagedCode_AreEqual()
    {
        Assert.Equal(NativeMethods.AbiVersion, s_c["MP_ABI_VERSION"]);
        Assert.Equal(FeatureSet.Count, s_c["MP_FEATURE_COUNT"]);
        Assert.Equal(FeatureSet.ReasonBytes, s_c["MP_REASON_BYTES"]);
        Assert.Equal(HandleSlot.Bits, s_c["MP_INDEX_BITS"]);
        Assert.Equal(ChannelError.TooOld, s_c["MP_ERROR_TOO_OLD"]);
        Assert.Equal(ChannelError.Denied, s_c["MP_ERROR_DENIED"]);
        Assert.Equal(ChannelError.LockedMemory, s_c["MP_ERROR_LOCKED_MEMORY"]);
    }

    // struct iovec's iov_base and iov_len and the reasons are the only fields that are named otherwise here.
    private static string Plain(string name) =>
        name.Replace("_", "", StringComparison.Ordinal).ToUpperInvariant() switch
        {
            "IOVBASE" => "ADDRESS",
            "IOVLEN" => "BYTES",
            "REASON" => "REASONS",
            string other => other,
        };

    private static Dictionary<string, long> RunLayout()
    {
        string program = Path.Combine(AppContext.BaseDirectory, "layout");
        using Process process = Process.Start(new ProcessStartInfo(program) { RedirectStandardOutput = true })!;
        string[] lines = process.StandardOutput.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries);
        process.WaitForExit();
        return lines.Select(line => line.Split(' '))
            .ToDictionary(words => words[0], words => long.Parse(words[1], CultureInfo.InvariantCulture));
    }
}
