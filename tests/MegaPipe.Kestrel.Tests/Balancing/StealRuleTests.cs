// The rule for one accepted connection, on a board that a test has laid out.
using CsCheck;
using MegaPipe.Kestrel.Internal.Balancing;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Balancing;

[Trait("Area", "Balancing")]
public sealed class StealRuleTests(ITestOutputHelper output)
{
    private const int LocalPerStolen = 5;

    private static readonly Gen<Square> s_square = Gen.Select(
        Gen.Bool, Gen.Bool, Gen.Bool, Gen.Int[0, 100], Gen.Int[0, 50], Gen.Int[0, 10],
        (busy, hung, asleep, connections, local, stolen) => new Square(busy, hung, asleep, connections, local, stolen));

    [Fact]
    public void Choose_AnyBoard_NeverItselfNorABusyOrHungOne() =>
        Gen.Select(s_square.Array[1, 9], Gen.Int[0, 20], Gen.Int[0, 20]).Sample(
            (squares, at, turn) =>
            {
                int self = at % squares.Length;
                int next = turn % squares.Length;
                Board board = new(squares);
                int taker = StealRule.Choose(in board, self, ref next, LocalPerStolen);
                Assert.InRange(next, 0, squares.Length - 1);
                if (taker >= 0)
                {
                    Assert.NotEqual(self, taker);
                    Assert.False(squares[taker].Busy || squares[taker].Hung);
                    Assert.True(squares[self].Busy || squares[self].Connections > squares[taker].Connections);
                }

                int unused = next;
                Assert.Equal(-1, StealRule.Choose(in board, self, ref unused, localPerStolen: 0));
            },
            output.WriteLine, iter: 2_000, threads: 1);

    [Fact]
    public void Choose_BusyAndAllOthersSleep_InTurn()
    {
        Board board = new([new(Busy: true), new(Asleep: true), new(Asleep: true), new(Asleep: true)]);
        int next = 0;
        Assert.Equal([1, 2, 3, 1, 2, 3], Many(board, 6, ref next));
    }

    [Fact]
    public void Choose_BusyAndTheOtherWorks_OneForEachFiveOfItsOwn()
    {
        int next = 0;
        int stolen = 0;
        for (int local = 0; local < 100; local++)
        {
            Board board = new([new(Busy: true), new(Local: local, Stolen: stolen)]);
            for (int tries = 0; tries < 3; tries++)
            {
                stolen += StealRule.Choose(in board, 0, ref next, LocalPerStolen) == 1 ? 1 : 0;
                board = new([new(Busy: true), new(Local: local, Stolen: stolen)]);
            }
        }

        Assert.Equal(100 / LocalPerStolen, stolen);
    }

    [Fact]
    public void Choose_AllAreBusy_ItStays()
    {
        Board board = new([new(Busy: true), new(Busy: true, Asleep: true)]);
        int next = 0;
        Assert.Equal([-1, -1], Many(board, 2, ref next));
    }

    /// <summary>What a burst leaves behind is even; what makes a channel busy for long is not its number.</summary>
    [Theory]
    [InlineData(540, 500, false, -1)]
    [InlineData(539, 500, false, 1)]
    [InlineData(540, 500, true, 1)]
    public void Choose_BusyAndTheOtherHasMore_OnlyOnceItIsBusyForLong(int other, int own, bool forLong, int taker)
    {
        Board board = new(
            [new(Busy: true, Long: forLong, Connections: own), new(Asleep: true, Connections: other)]);
        int next = 0;
        Assert.Equal(taker, StealRule.Choose(in board, 0, ref next, LocalPerStolen));
    }

    /// <summary>Long-lived connections count, too; but a few more are not worth a transfer.</summary>
    [Theory]
    [InlineData(508, 500, -1)]
    [InlineData(539, 500, -1)]
    [InlineData(540, 500, 1)]
    [InlineData(9, 0, 1)]
    [InlineData(8, 0, -1)]
    public void Choose_NotBusyButCrowded_ToTheEmptierOne(int own, int other, int taker)
    {
        Board board = new([new(Connections: own), new(Connections: other)]);
        int next = 0;
        Assert.Equal(taker, StealRule.Choose(in board, 0, ref next, LocalPerStolen));
    }

    private static int[] Many(Board board, int count, ref int next)
    {
        int[] takers = new int[count];
        for (int i = 0; i < count; i++)
        {
            takers[i] = StealRule.Choose(in board, 0, ref next, LocalPerStolen);
        }

        return takers;
    }

    private sealed record Square(
        bool Busy = false, bool Hung = false, bool Asleep = false, int Connections = 0, long Local = 0,
        long Stolen = 0, bool Long = false);

    private readonly struct Board(Square[] squares) : IAcceptBoard
    {
        public int Channels => squares.Length;

        public bool IsBusy(int channel) => squares[channel].Busy;

        public bool IsBusyForLong(int channel) => squares[channel].Long;

        public bool IsHung(int channel) => squares[channel].Hung;

        public bool IsAsleep(int channel) => squares[channel].Asleep;

        public int Connections(int channel) => squares[channel].Connections;

        public long Local(int channel) => squares[channel].Local;

        public long Stolen(int channel) => squares[channel].Stolen;
    }
}
