// The steering program: what it answers for every group of every kind of table, and that the kernel takes it.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Steering;
using MegaPipe.Kestrel.Tests.Support;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Tests.Steering;

[Trait("Area", "Steering")]
public sealed class FlowProgramTests
{
    private const int Seed = 20_261_126;

    public static TheoryData<int, int> Sizes
    {
        get
        {
            TheoryData<int, int> sizes = [];
            foreach (int channels in (int[])[1, 2, 3, 4, 5, 16, 17, 128, 255, 256, 257, 1_024])
            {
                for (int groups = FlowProgram.LeastGroups; groups <= FlowProgram.MostGroupsFor(channels); groups *= 2)
                {
                    sizes.Add(channels, groups);
                }
            }

            return sizes;
        }
    }

    [Theory]
    [MemberData(nameof(Sizes))]
    public void ByHash_AnyTable_AnswersWhatTheTableSaysAndFits(int channels, int groups)
    {
        Random random = new(Seed);
        ushort[][] tables =
        [
            [.. Enumerable.Range(0, groups).Select(group => (ushort)(group % channels))],
            [.. Enumerable.Range(0, groups).Select(group => (ushort)(group * channels / groups))],
            [.. Enumerable.Range(0, groups).Select(_ => (ushort)(channels - 1))],
            [.. Enumerable.Range(0, groups).Select(_ => (ushort)random.Next(channels))],
            [.. Enumerable.Range(0, groups).Select(group => (ushort)(group == groups - 1 ? channels - 1 : 0))],
        ];
        foreach (ushort[] table in tables)
        {
            BpfInstruction[] program = FlowProgram.ByHash(table);
            Assert.InRange(program.Length, 1, SocketProgram.MaxInstructions);
            for (int group = 0; group < groups; group++)
            {
                uint other = (uint)random.Next(1, int.MaxValue / groups) * (uint)groups; // bits that are no group
                Assert.Equal(table[group], BpfInterpreter.Run(program, new Packet((uint)group + other)));
            }
        }
    }

    [Theory]
    [InlineData(63)]
    [InlineData(32)]
    [InlineData(65)]
    [InlineData(96)]
    [InlineData(8_192)]
    public void ByHash_NoNumberOfGroups_Refused(int groups) =>
        Assert.Throws<ArgumentOutOfRangeException>(() => FlowProgram.ByHash(new ushort[groups]));

    /// <summary>Without a hash in the packet the client's address and port make one.</summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public void ByHash_PacketWithoutHash_ClientsAreSpread(bool ipv6, bool oneAddress)
    {
        const int Clients = 4_096;
        const int Channels = 4;
        int[] counts = new int[Channels];
        BpfInstruction[] program = FlowProgram.ByHash(FlowTable.InTurn(Channels));
        for (int client = 0; client < Clients; client++)
        {
            // As Linux picks them: one address, every second port; or other addresses and one port.
            byte[] header = ipv6 ? new byte[44] : new byte[24];
            header[0] = (byte)(ipv6 ? 0x60 : 0x45);
            int source = ipv6 ? 23 : 15;
            int port = ipv6 ? 40 : 20;
            int number = oneAddress ? 32_768 + (client * 2) : client;
            (header[port], header[port + 1]) = oneAddress
                ? ((byte)(number >> 8), (byte)number) : ((byte)0xc0, (byte)0);
            (header[source - 1], header[source]) = oneAddress
                ? ((byte)1, (byte)7) : ((byte)(number >> 8), (byte)number);
            counts[BpfInterpreter.Run(program, new Packet(NetworkHeader: header))]++;
        }

        Assert.All(counts, count => Assert.InRange(count, Clients / Channels / 2, Clients / Channels * 2));
    }

    [Fact]
    public void ByCpu_AnyCpu_AnswersTheTable()
    {
        ushort[] table = FlowTable.OfCpus([[0, 5], [1], [2, 5]]);
        Assert.Equal([0, 1, 2, 3, 3, 2, 3, 3], table);
        BpfInstruction[] program = FlowProgram.ByCpu(table);
        for (uint cpu = 0; cpu < 32; cpu++)
        {
            Assert.Equal(table[cpu % table.Length], BpfInterpreter.Run(program, new Packet(Cpu: cpu)));
        }
    }

    /// <summary>The kernel's checker takes the largest tables, and connections land where a table says.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Kernel_TablesOneAfterTheOther_ConnectionsLandWhereTheySay(bool ipv6)
    {
        const int Members = 4;
        const int Clients = 12;
        Socket[] members = Listen(Members, ipv6);
        try
        {
            for (int round = 0; round < 2 * Members; round++)
            {
                ushort[] table = [.. Enumerable.Repeat((ushort)(round % Members), FlowProgram.MostGroups)];
                Assert.Equal(0, Steer(members[round * 3 % Members], FlowProgram.ByHash(table)));
                Assert.Equal(
                    Enumerable.Repeat(round % Members, Clients), await ConnectAsync(members, Clients));
            }

            // Two of four, by packed words: which of them depends on the hash.
            ushort[] random = [.. Enumerable.Range(0, FlowProgram.MostGroups).Select(i => (ushort)(1 + i * 7 / 3 % 2))];
            Assert.Equal(0, Steer(members[0], FlowProgram.ByHash(random)));
            Assert.All(await ConnectAsync(members, 4 * Clients), member => Assert.InRange(member, 1, 2));

            // Nobody has this number: the kernel's own hash decides.
            Assert.Equal(0, Steer(members[0], FlowProgram.ByCpu([Members, Members])));
            Assert.True((await ConnectAsync(members, 8 * Clients)).Distinct().Count() > 1);

            Assert.Equal(0, Steer(members[0], FlowProgram.ByCpu([3, 3])));
            Assert.All(await ConnectAsync(members, Clients), member => Assert.Equal(3, member));
            Assert.Equal(0, SocketProgram.ReleaseGroup((int)members[0].Handle));
        }
        finally
        {
            Array.ForEach(members, member => member.Dispose());
        }
    }

    /// <summary>The last member takes the place of one that leaves.</summary>
    [Fact]
    public async Task Kernel_AroundMembersThatLeave_NobodyComesToThem()
    {
        const int Clients = 12;
        Socket[] members = Listen(5, ipv6: false);
        Assert.Equal(0, Steer(members[0], FlowProgram.Around(1, 2, 3)));
        Assert.DoesNotContain(await ConnectAsync(members, Clients), member => member is 1 or 2);
        Assert.Equal(0, Steer(members[0], FlowProgram.Around(1, 2, 2)));
        Assert.All(await ConnectAsync(members, Clients), member => Assert.True(member is 0 or 3));
        members[2].Dispose();
        members = [members[0], members[1], members[4], members[3]];
        Assert.All(await ConnectAsync(members, Clients), member => Assert.True(member is 0 or 3));
        Assert.Equal(0, Steer(members[0], FlowProgram.Around(1, 1, 3)));
        Assert.DoesNotContain(1, await ConnectAsync(members, Clients));
        Array.ForEach(members, member => member.Dispose());
    }

    [Fact]
    public void Kernel_LargestProgram_IsTaken()
    {
        Random random = new(Seed);
        Socket[] members = Listen(1, ipv6: false);
        ushort[] table = [.. Enumerable.Range(0, FlowProgram.MostGroups).Select(_ => (ushort)random.Next(256))];
        Assert.Equal(0, Steer(members[0], FlowProgram.ByHash(table)));
        table = [.. Enumerable.Range(0, FlowProgram.MostGroupsFor(1_024)).Select(_ => (ushort)random.Next(1_024))];
        Assert.Equal(0, Steer(members[0], FlowProgram.ByHash(table)));
        members[0].Dispose();
    }

    private static int Steer(Socket member, BpfInstruction[] program) =>
        SocketProgram.SteerGroup((int)member.Handle, program);

    private static Socket[] Listen(int count, bool ipv6)
    {
        Socket[] members = new Socket[count];
        IPEndPoint address = new(ipv6 ? IPAddress.IPv6Loopback : IPAddress.Loopback, 0);
        for (int i = 0; i < count; i++)
        {
            members[i] = new(address.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
            members[i].SetRawSocketOption(1, 15, BitConverter.GetBytes(1));
            members[i].Bind(address);
            address = (IPEndPoint)members[i].LocalEndPoint!;
            members[i].Listen();
        }

        return members;
    }

    /// <summary>The member that each connection came to.</summary>
    private static async Task<List<int>> ConnectAsync(Socket[] members, int clients)
    {
        List<int> arrived = [];
        for (int i = 0; i < clients; i++)
        {
            using Socket client = Client.Create(members[0].LocalEndPoint!);
            await client.ConnectAsync(members[0].LocalEndPoint!).InTime();
            int at = -1;
            await Eventually.True(
                () => (at = Array.FindIndex(members, member => member.Poll(0, SelectMode.SelectRead))) >= 0,
                () => "nobody has it", "a member has the connection");
            arrived.Add(at);
            (await members[at].AcceptAsync().InTime()).Dispose();
        }

        return arrived;
    }
}
