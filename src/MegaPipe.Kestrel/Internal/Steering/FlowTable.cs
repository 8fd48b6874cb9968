// The one table of a host, and the groups of listening sockets that follow it.
using System.Net.Sockets;
using System.Numerics;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Steering;

/// <summary>
/// A group's members are a channel's partitions in the order of their channels, so a channel's number is its index.
/// </summary>
internal sealed class FlowTable : IFlowSteering
{
    /// <summary>So that a group is a small part of its channel's connections.</summary>
    private const int GroupsPerChannel = 32;

    private readonly Lock _sync = new();
    private readonly List<(Socket Member, bool ByCpu)> _groups = [];
    private readonly bool _refused;
    private readonly bool _byAddress;
    private ushort[] _channelOfGroup;
    private ushort[] _channelOfCpu;
    private BpfInstruction[] _byHash;
    private BpfInstruction[] _byCpu;

    /// <param name="channels">Their number.</param>
    /// <param name="cpus">The CPUs of each channel; none: it has all.</param>
    /// <param name="refused">Acts as if the kernel took no program.</param>
    /// <param name="byAddress">Acts as if no device had a hash.</param>
    public FlowTable(int channels, IReadOnlyList<int[]> cpus, bool refused = false, bool byAddress = false)
    {
        _refused = refused;
        _byAddress = byAddress;
        _channelOfGroup = InTurn(channels);
        _byHash = FlowProgram.ByHash(_channelOfGroup, byAddress);
        _channelOfCpu = OfCpus(cpus);
        _byCpu = FlowProgram.ByCpu(_channelOfCpu);
    }

    /// <inheritdoc/>
    public bool IsActive
    {
        get
        {
            lock (_sync)
            {
                return _groups.Exists(group => !group.ByCpu);
            }
        }
    }

    /// <summary>The channel of each flow group, as it stands.</summary>
    public ushort[] ChannelOfGroup
    {
        get
        {
            lock (_sync)
            {
                return _channelOfGroup;
            }
        }
    }

    /// <summary>Groups in turn to the channels.</summary>
    public static ushort[] InTurn(int channels)
    {
        ushort[] table = new ushort[(int)BitOperations.RoundUpToPowerOf2((uint)Math.Clamp(
            channels * GroupsPerChannel, FlowProgram.LeastGroups, FlowProgram.MostGroupsFor(channels)))];
        for (int group = 0; group < table.Length; group++)
        {
            table[group] = (ushort)(group % channels);
        }

        return table;
    }

    /// <summary>
    /// The channel of each CPU: of those that name it, in turn. A CPU that no channel names is left to the kernel's
    /// hash, by a number that no channel has.
    /// </summary>
    public static ushort[] OfCpus(IReadOnlyList<int[]> cpus)
    {
        int most = cpus.Count == 0 ? 0 : cpus.Max(list => list.Length == 0 ? 0 : list.Max());
        ushort[] table = new ushort[(int)BitOperations.RoundUpToPowerOf2((uint)most + 1)];
        for (int cpu = 0; cpu < table.Length; cpu++)
        {
            int[] who = [.. Enumerable.Range(0, cpus.Count).Where(channel => cpus[channel].Contains(cpu))];
            table[cpu] = (ushort)(who.Length == 0 ? cpus.Count : who[cpu % who.Length]);
        }

        return table;
    }

    /// <summary>The socket's group follows the table from now on. 0 or a negative errno.</summary>
    public int Join(Socket member, bool byCpu)
    {
        lock (_sync)
        {
            int error = Steer(member, byCpu);
            if (error == 0)
            {
                _groups.Add((member, byCpu));
            }

            return error;
        }
    }

    /// <summary>Before the socket is closed.</summary>
    public void Leave(Socket member)
    {
        lock (_sync)
        {
            _groups.RemoveAll(group => ReferenceEquals(group.Member, member));
        }
    }

    /// <inheritdoc/>
    public bool Apply(ReadOnlySpan<ushort> channelOfGroup)
    {
        BpfInstruction[] program = FlowProgram.ByHash(channelOfGroup, _byAddress);
        lock (_sync)
        {
            (BpfInstruction[] before, _byHash) = (_byHash, program);
            if (!SteerAll(byCpu: false))
            {
                _byHash = before;
                _ = SteerAll(byCpu: false);
                return false;
            }

            _channelOfGroup = channelOfGroup.ToArray();
            return true;
        }
    }

    /// <summary>Channels have other CPUs than before. false where the kernel refused it.</summary>
    public bool ApplyCpus(IReadOnlyList<int[]> cpus)
    {
        ushort[] table = OfCpus(cpus);
        lock (_sync)
        {
            _channelOfCpu = table;
            _byCpu = FlowProgram.ByCpu(table);
            return SteerAll(byCpu: true);
        }
    }

    private bool SteerAll(bool byCpu)
    {
        bool taken = true;
        foreach ((Socket member, bool groupByCpu) in _groups)
        {
            taken &= groupByCpu != byCpu || Steer(member, byCpu) == 0;
        }

        return taken;
    }

    private int Steer(Socket member, bool byCpu) => _refused
        ? ChannelError.NotPermitted
        : SocketProgram.SteerGroup((int)member.SafeHandle.DangerousGetHandle(), byCpu ? _byCpu : _byHash);
}
