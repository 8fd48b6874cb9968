// Binds the calling thread to a CPU, for carriers of channels that stand for one.
using Tmds.Linux;

namespace MegaPipe.Native;

/// <summary>The CPUs that the calling thread may run on.</summary>
internal static unsafe class CpuAffinity
{
    /// <summary>CPU numbers that the kernel's sets hold here.</summary>
    public const int MaxCpus = 1024;

    /// <summary>Binds the calling thread to one CPU. false where the process may not use it.</summary>
    public static bool TrySet(int cpu)
    {
        cpu_set_t set = default;
        byte* bits = (byte*)&set;
        if ((uint)cpu >= (uint)sizeof(cpu_set_t) * 8)
        {
            return false;
        }

        bits[cpu / 8] |= (byte)(1 << (cpu % 8));
        return LibC.sched_setaffinity(0, sizeof(cpu_set_t), &set) == 0;
    }
}
