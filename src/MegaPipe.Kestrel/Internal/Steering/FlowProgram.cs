// A table of flow groups as a classic BPF program, which the kernel runs for the first packet of each connection. The
// program has no memory to read from, so the table is in its instructions.
using System.Numerics;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Steering;

/// <summary>
/// Builds the program: it finds the connection's group, then walks a tree by the bits of the group, highest first, down
/// to a leaf that returns a channel or takes it out of a packed word. Halves that are equal are one. 4,096 different
/// groups of up to 256 channels take some 3,100 instructions; the kernel takes 4,096.
/// </summary>
internal static class FlowProgram
{
    public const int LeastGroups = 64;
    public const int MostGroups = 4_096;

    // Instructions: class, size or source, mode or operation.
    internal const ushort LoadWord = 0x20;       // BPF_LD, BPF_W, BPF_ABS
    internal const ushort LoadByte = 0x30;
    internal const ushort LoadImmediate = 0x00;
    internal const ushort LoadScratch = 0x60;    // BPF_LD, BPF_MEM
    internal const ushort Store = 0x02;
    internal const ushort CopyToX = 0x07;
    internal const ushort Add = 0x04;
    internal const ushort XorX = 0xac;
    internal const ushort Multiply = 0x24;
    internal const ushort Modulo = 0x94;
    internal const ushort And = 0x54;
    internal const ushort ShiftLeft = 0x64;
    internal const ushort ShiftRight = 0x74;
    internal const ushort ShiftRightX = 0x7c;
    internal const ushort Jump = 0x05;
    internal const ushort JumpIfEqual = 0x15;
    internal const ushort JumpIfGreaterOrEqual = 0x35;
    internal const ushort JumpIfSet = 0x45;
    internal const ushort Return = 0x06;
    internal const ushort ReturnA = 0x16;

    // What the kernel answers at these offsets (linux/filter.h).
    internal const uint Ancillary = 0xffff_f000;     // SKF_AD_OFF
    internal const uint CpuAt = Ancillary + 36;
    internal const uint HashAt = Ancillary + 32;
    internal const uint NetworkHeader = 0xfff0_0000; // SKF_NET_OFF

    private const int WordBits = 32;
    private const int FarthestBranch = byte.MaxValue;

    // Fields of IPv4 and IPv6 headers, and where the ports are behind them when there are no options.
    private const uint Ipv4Source = 12;
    private const uint Ipv4Ports = 20;
    private const uint Ipv6SourceEnd = 20;
    private const uint Ipv6Ports = 40;

    /// <summary>Odd, with its bits spread (2³² through the golden ratio).</summary>
    private const uint Spread = 0x9e37_79b1;

    /// <summary>
    /// Leaves the product's upper bits, which all of a port's bits have gone into: clients' ports are even on Linux.
    /// </summary>
    private const uint GroupShift = 20;

    /// <summary>Groups that always fit the program, however they are divided.</summary>
    public static int MostGroupsFor(int channels) => channels <= byte.MaxValue + 1 ? MostGroups : MostGroups / 2;

    /// <summary>By the connection's hash. A value that no channel has leaves it to the kernel's own hash.</summary>
    /// <param name="channelOfGroup">A power of two of groups.</param>
    /// <param name="byAddress">Acts as if no device had a hash: what a client can foresee, for measurements.</param>
    public static BpfInstruction[] ByHash(ReadOnlySpan<ushort> channelOfGroup, bool byAddress = false)
    {
        if (channelOfGroup.Length is < LeastGroups or > MostGroups)
        {
            throw new ArgumentOutOfRangeException(
                nameof(channelOfGroup), channelOfGroup.Length, "No number of flow groups.");
        }

        return Build(LoadHash(byAddress), channelOfGroup);
    }

    /// <summary>By the CPU that received the packet; CPUs past the table count from its start again.</summary>
    public static BpfInstruction[] ByCpu(ReadOnlySpan<ushort> channelOfCpu) =>
        Build([new(LoadWord, 0, 0, CpuAt)], channelOfCpu);

    /// <summary>
    /// By the hash, evenly among members that are not of the <paramref name="own"/> ones from index
    /// <paramref name="first"/> on.
    /// </summary>
    public static BpfInstruction[] Around(int first, int own, int others) =>
    [
        .. LoadHash(),
        new(Modulo, 0, 0, (uint)others),
        new(JumpIfGreaterOrEqual, 0, 1, (uint)first),
        new(Add, 0, 0, (uint)own),
        new(ReturnA, 0, 0, 0),
    ];

    /// <summary>
    /// The device's or the sender's hash. Where there is none (some devices), one of the client's address and port.
    /// </summary>
    private static BpfInstruction[] LoadHash(bool byAddress = false) =>
    [
        byAddress ? new(LoadImmediate, 0, 0, 0) : new(LoadWord, 0, 0, HashAt),
        new(JumpIfEqual, 0, 13, 0), // there is one: to the end
        new(LoadByte, 0, 0, NetworkHeader),
        new(JumpIfGreaterOrEqual, 5, 0, 0x60),
        new(LoadWord, 0, 0, NetworkHeader + Ipv4Source),
        new(CopyToX, 0, 0, 0),
        new(LoadWord, 0, 0, NetworkHeader + Ipv4Ports),
        new(XorX, 0, 0, 0),
        new(Jump, 0, 0, 4),
        new(LoadWord, 0, 0, NetworkHeader + Ipv6SourceEnd),
        new(CopyToX, 0, 0, 0),
        new(LoadWord, 0, 0, NetworkHeader + Ipv6Ports),
        new(XorX, 0, 0, 0),
        new(Multiply, 0, 0, Spread),
        new(ShiftRight, 0, 0, GroupShift),
    ];

    private static BpfInstruction[] Build(ReadOnlySpan<BpfInstruction> load, ReadOnlySpan<ushort> table)
    {
        if (!BitOperations.IsPow2(table.Length))
        {
            throw new ArgumentOutOfRangeException(nameof(table), table.Length, "Not a power of two.");
        }

        ushort most = 0;
        foreach (ushort channel in table)
        {
            most = Math.Max(most, channel);
        }

        // Bits of an entry, a power of two so that entries do not cross words; entries of a word.
        int bits = (int)BitOperations.RoundUpToPowerOf2((uint)Math.Max(1, BitOperations.Log2(most) + 1));
        int perWord = Math.Min(WordBits / bits, table.Length);
        List<BpfInstruction> program =
        [
            .. load,
            new(And, 0, 0, (uint)table.Length - 1),
            new(Store, 0, 0, 0),
            new(And, 0, 0, (uint)perWord - 1),
            new(ShiftLeft, 0, 0, (uint)BitOperations.Log2((uint)bits)),
            new(CopyToX, 0, 0, 0),
            new(LoadScratch, 0, 0, 0),
        ];
        List<BpfInstruction> tree = [];
        List<int> words = []; // leaves that go on at the tail
        Branch(table, perWord, bits, tree, words);
        program.AddRange(tree);
        int start = program.Count - tree.Count;
        foreach (int word in words)
        {
            program[start + word] = new(Jump, 0, 0, (uint)(tree.Count - word - 1));
        }

        if (words.Count > 0)
        {
            program.Add(new(ShiftRightX, 0, 0, 0));
            program.Add(new(And, 0, 0, bits == WordBits ? uint.MaxValue : (1u << bits) - 1));
            program.Add(new(ReturnA, 0, 0, 0));
        }

        return [.. program];
    }

    private static void Branch(
        ReadOnlySpan<ushort> table, int perWord, int bits, List<BpfInstruction> tree, List<int> words)
    {
        if (!table.ContainsAnyExcept(table[0]))
        {
            tree.Add(new(Return, 0, 0, table[0]));
            return;
        }

        if (table.Length <= perWord)
        {
            uint word = 0;
            for (int i = 0; i < table.Length; i++)
            {
                word |= (uint)table[i] << (i * bits);
            }

            tree.Add(new(LoadImmediate, 0, 0, word));
            words.Add(tree.Count);
            tree.Add(default); // a jump to the tail, once it is known how far that is
            return;
        }

        int half = table.Length / 2;
        ReadOnlySpan<ushort> low = table[..half];
        ReadOnlySpan<ushort> high = table[half..];
        if (low.SequenceEqual(high))
        {
            Branch(low, perWord, bits, tree, words);
            return;
        }

        // A branch skips 255 instructions at most, a jump any number.
        int branch = tree.Count;
        tree.Add(default);
        tree.Add(default);
        Branch(low, perWord, bits, tree, words);
        int skipped = tree.Count - branch - 2;
        if (skipped + 1 <= FarthestBranch)
        {
            tree.RemoveAt(branch + 1);
            MoveBack(words, branch + 1);
            tree[branch] = new(JumpIfSet, (byte)skipped, 0, (uint)half);
        }
        else
        {
            tree[branch] = new(JumpIfSet, 0, 1, (uint)half);
            tree[branch + 1] = new(Jump, 0, 0, (uint)skipped);
        }

        Branch(high, perWord, bits, tree, words);
    }

    /// <summary>An instruction before these leaves has gone.</summary>
    private static void MoveBack(List<int> words, int from)
    {
        for (int i = words.Count - 1; i >= 0 && words[i] > from; i--)
        {
            words[i]--;
        }
    }
}
