// Binds the calling thread to a CPU, for carriers of channels that stand for one.
using Tmds.Linux;

namespace MegaPipe.Native;

/// <summary>The CPUs that the calling thread may run on.</summary>
internal static unsafe class CpuAffinity
{
    private static readonly cpu_set_t s_process = ReadProcess();

    [ThreadStatic]
    private static bool t_bound;

    /// <summary>The CPUs that the process could use when this class was first used, ascending.</summary>
    public static IReadOnlyList<int> Allowed { get; } = ReadAllowed();

    /// <summary>Binds the calling thread to CPUs. false where the process may use none of them.</summary>
    public static bool TrySet(params ReadOnlySpan<int> cpus)
    {
        cpu_set_t set = default;
        byte* bits = (byte*)&set;
        foreach (int cpu in cpus)
        {
            if ((uint)cpu >= (uint)sizeof(cpu_set_t) * 8)
            {
                return false;
            }

            bits[cpu / 8] |= (byte)(1 << (cpu % 8));
        }

        t_bound = LibC.sched_setaffinity(0, sizeof(cpu_set_t), &set) == 0;
        return t_bound;
    }

    /// <summary>Lets the calling thread run wherever the process could when this class was first used.</summary>
    public static void Clear()
    {
        if (t_bound)
        {
            cpu_set_t set = s_process;
            t_bound = LibC.sched_setaffinity(0, sizeof(cpu_set_t), &set) != 0;
        }
    }

    private static int[] ReadAllowed()
    {
        cpu_set_t set = s_process;
        byte* bits = (byte*)&set;
        List<int> cpus = [];
        for (int cpu = 0; cpu < sizeof(cpu_set_t) * 8; cpu++)
        {
            if ((bits[cpu / 8] >> (cpu % 8) & 1) != 0)
            {
                cpus.Add(cpu);
            }
        }

        return [.. cpus];
    }

    private static cpu_set_t ReadProcess()
    {
        cpu_set_t set = default;
        return LibC.sched_getaffinity(LibC.getpid(), sizeof(cpu_set_t), &set) < 0 ? default : set;
    }
}
