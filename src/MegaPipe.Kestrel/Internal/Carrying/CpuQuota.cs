// Whether a cgroup limits the CPU time of the process: what is spun away there is missing later.
namespace MegaPipe.Kestrel.Internal.Carrying;

internal static class CpuQuota
{
    public static bool Exists() => Exists(ControlGroups.Root, ControlGroups.Membership);

    /// <summary>Any group of the process. What cannot be read limits nothing.</summary>
    public static bool Exists(string root, string membership) =>
        ControlGroups.Folders(root, membership, "cpu").Exists(folder =>
            ControlGroups.Read(folder, "cpu.max") is { } quota && !quota.StartsWith("max", StringComparison.Ordinal) ||
            ControlGroups.Read(folder, "cpu.cfs_quota_us") is { } old && !old.StartsWith('-') && old != "0");
}
