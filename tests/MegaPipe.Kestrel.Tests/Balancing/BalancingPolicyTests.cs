// The policy alone: what must hold whatever it is told, and what it does with loads that a test knows.
using CsCheck;
using MegaPipe.Kestrel.Internal.Balancing;
using Xunit.Abstractions;

namespace MegaPipe.Kestrel.Tests.Balancing;

[Trait("Area", "Balancing")]
public sealed class BalancingPolicyTests(ITestOutputHelper output)
{
    private static readonly BalancingSettings s_settings = BalancingSettings.Default;

    /// <summary>A few looks of a few channels, which may be asleep, stuck, overloaded or without a carrier.</summary>
    private static readonly Gen<ChannelLook[][]> s_anything = Gen.Int[2, 9].SelectMany(channels =>
        Gen.Select(Gen.Int[0, 3], Gen.Bool, Gen.Int[0, 9], Gen.Double[0, 1], Gen.Double[0, 4], Gen.Double[0, 4])
            .Select((turns, asleep, carried, work, delay, queued) =>
                new ChannelLook(turns, asleep, carried > 0, work, delay, 0, queued, turns))
            .Array[channels].Array[1, 120]);

    [Fact]
    public void LookAndMigrate_AnythingIsTold_EachGroupHasOneOwnerThatIsLive() => s_anything.Sample(
        rounds =>
        {
            int channels = rounds[0].Length;
            BalancingPolicy policy = new(channels, s_settings);
            BalancingPolicy twin = new(channels, s_settings);
            long[] turns = new long[channels];
            long[] given = new long[channels * channels];
            for (int round = 0; round < rounds.Length; round++)
            {
                ChannelLook[] looks =
                    [.. rounds[round].Select((look, i) => look with { Turns = turns[i] += look.Turns })];
                given[round % given.Length] += round;
                ushort[] before = policy.Owners.ToArray();
                bool changed = policy.Look(looks);
                twin.Look(looks);
                if (round % 10 == 9)
                {
                    changed |= policy.Migrate(given);
                    twin.Migrate(given);
                }

                Check(policy, channels);
                Assert.True(policy.Owners.SequenceEqual(twin.Owners), "the same looks, other owners");
                Assert.True(changed || policy.Owners.SequenceEqual(before), "a change that it did not tell");
            }
        },
        output.WriteLine, iter: 300, threads: 1);

    /// <summary>
    /// Whatever the channels do and whoever is seen at work there, and whatever part is his: he goes to another live
    /// channel or stays, and from equal channels nobody goes.
    /// </summary>
    [Fact]
    public void MoveConnection_AnythingIsTold_GoesToALiveChannelWithLessWork() => Gen.Select(
        s_anything, Gen.Double[0, 1].Array[1, 20]).Sample(
        (rounds, parts) =>
        {
            int channels = rounds[0].Length;
            BalancingPolicy policy = new(channels, s_settings);
            long[] turns = new long[channels];
            double[] work = new double[channels];
            for (int round = 0; round < rounds.Length; round++)
            {
                ChannelLook[] looks =
                    [.. rounds[round].Select((look, i) => look with { Turns = turns[i] += look.Turns })];
                policy.Look(looks);
                for (int i = 0; i < channels; i++)
                {
                    work[i] += (looks[i].Work - work[i]) / s_settings.WorkLooks;
                }

                int victim = round % channels;
                double part = parts[round % parts.Length];
                int taker = policy.MoveConnection(victim, part);
                if (taker < 0)
                {
                    continue;
                }

                Assert.NotEqual(victim, taker);
                Assert.False(policy.IsHung(taker) || policy.IsBusy(taker) || policy.IsHung(victim));
                Assert.True(work[victim] >= s_settings.WorkToMigrate);
                Assert.True(work[taker] + (work[victim] * part) < work[victim]);
                work[taker] += work[victim] * part;
                work[victim] -= work[victim] * part;
            }
        },
        output.WriteLine, iter: 300, threads: 1);

    /// <summary>As with groups: it ends, also where the looks go on telling what was before the moves.</summary>
    [Fact]
    public void MoveConnection_OneChannelHasAll_MovesUntilTheyAreNearAndThenNothing()
    {
        const int connections = 50;
        BalancingPolicy policy = new(4, s_settings);
        double[] work = [1, 0.1, 0.1, 0.1];
        long[] turns = new long[4];
        int moved = 0;
        int last = 0;
        for (int round = 1; round < 2_000; round++)
        {
            policy.Look([.. work.Select((part, i) => new ChannelLook(++turns[i], false, true, part, 0, 0, 0, 1))]);
            for (int i = 0; i < 4; i++)
            {
                if (policy.MoveConnection(i, 1.0 / connections) is >= 0 and int taker)
                {
                    double moves = work[i] / connections;
                    work[i] -= moves;
                    work[taker] += moves;
                    moved++;
                    last = round;
                }
            }
        }

        Assert.InRange(moved, 10, 400);
        Assert.InRange(last, 1, 1_000);
        Assert.True(work.Max() <= Math.Max(work.Average() * (s_settings.WorkApart + 0.1), s_settings.WorkToMigrate));
    }

    [Fact]
    public void Look_ChannelHangsAndComesBack_ItsGroupsGoAndComeBack()
    {
        BalancingPolicy policy = new(4, s_settings);
        ushort[] before = policy.Owners.ToArray();
        long[] turns = new long[4];
        Rounds(policy, turns, 20, stuck: -1);
        Rounds(policy, turns, s_settings.HungLooks - 1, stuck: 2);
        Assert.False(policy.IsHung(2));
        Rounds(policy, turns, 1, stuck: 2);
        Assert.True(policy.IsHung(2));
        Assert.Equal(0, policy.GroupsOf(2));
        Assert.All(new[] { 0, 1, 3 }, other => Assert.InRange(policy.GroupsOf(other), 42, 43));

        Rounds(policy, turns, s_settings.BackLooks - 1, stuck: -1);
        Assert.True(policy.IsHung(2)); // one sign of life is not enough
        Rounds(policy, turns, 1, stuck: -1);
        Assert.False(policy.IsHung(2));
        Assert.Equal(before, policy.Owners.ToArray());
    }

    [Fact]
    public void Look_NoCarrierIsLeft_HungAtOnce()
    {
        BalancingPolicy policy = new(2, s_settings);
        ChannelLook alive = new(1, false, true, 0.5, 0, 0, 0, 0);
        policy.Look([alive, alive with { Carried = false }]);
        Assert.Equal(0, policy.GroupsOf(1));
    }

    [Fact]
    public void Look_AllHang_OwnersStay()
    {
        BalancingPolicy policy = new(3, s_settings);
        ushort[] before = policy.Owners.ToArray();
        ChannelLook still = new(1, false, true, 1, 1, 0, 1, 9);
        for (int i = 0; i < 3 * s_settings.HungLooks; i++)
        {
            policy.Look([still, still, still]);
        }

        Assert.Equal(before, policy.Owners.ToArray());
    }

    /// <summary>
    /// The load is the same on all, and only the looks differ: what migrates would only come back, and who is busy by
    /// chance gives nothing to anybody who has more time.
    /// </summary>
    [Theory]
    [InlineData(0.3)]
    [InlineData(0.7)]
    [InlineData(0.98)]
    public void Migrate_EqualLoadWithNoise_NothingMoves(double load) =>
        Gen.Double[-0.1, 0.1].Array[8].Array[300].Sample(
            noise =>
            {
                BalancingPolicy policy = new(8, s_settings);
                for (int round = 0; round < noise.Length; round++)
                {
                    policy.Look([.. noise[round].Select(n => new ChannelLook(
                        round, false, true, Math.Clamp(load + n, 0, 1), Math.Max(0, (2 * load) + (2 * n)), 0, 0, 10))]);
                    if (round % 10 == 9)
                    {
                        policy.Migrate(new long[64]);
                    }

                    Assert.DoesNotContain(true, Enumerable.Range(0, 8).Select(policy.IsBusy));
                }

                Assert.Equal(0, policy.Migrations);
            },
            output.WriteLine, iter: 30, threads: 1);

    /// <summary>Loads that belong to the groups: they spread until no move gains anything, and then stay.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(16)]
    [InlineData(128)]
    public void Migrate_GroupsOfOneChannelCostMore_WorkEvensOutAndThenNothingMoves(int channels)
    {
        BalancingPolicy policy = new(channels, s_settings);
        double light = 0.6 * channels / (policy.Owners.Length * (20.0 + channels - 1) / channels);
        double[] costs = [.. policy.Owners.ToArray().Select(owner => owner == 0 ? 20 * light : light)];
        double[] work = new double[channels];
        long last = 0;
        const int rounds = 6_000; // a minute of looks
        for (int round = 0; round < rounds; round++)
        {
            Array.Clear(work);
            for (int group = 0; group < costs.Length; group++)
            {
                work[policy.Owners[group]] += costs[group];
            }

            policy.Look([.. work.Select(w => new ChannelLook(round, false, true, Math.Min(1, w), 0, 0, 0, 0))]);
            long before = policy.Migrations;
            if (round % 10 == 9 && policy.Migrate(new long[channels * channels]))
            {
                last = round;
            }

            Assert.True(policy.Migrations - before <= channels, "each takes one at a time");
        }

        output.WriteLine($"{policy.Migrations} moves, the last in round {last}; busiest {work.Max():F3}");
        Assert.InRange(work.Max(), 0, Math.Max(0.6 * s_settings.WorkApart, 0.6 + (20 * light)) + 1e-9);
        Assert.InRange(last, 0, rounds / 2);
    }

    [Fact]
    public void Migrate_ItIsOff_NothingMoves()
    {
        BalancingPolicy policy = new(2, s_settings with { Migrates = false });
        for (int round = 0; round < 1_000; round++)
        {
            policy.Look([new(round, false, true, 1, 5, 0, 1, 9), new(round, true, true, 0, 0, 0, 0, 0)]);
            Assert.False(policy.Migrate([0, round, 0, 0]));
        }

        Assert.True(policy.IsBusy(0));
        Assert.Equal(32, policy.GroupsOf(0));
    }

    [Fact]
    public void Migrate_TwoHaveTooMuch_EachTakesFromWhomItStoleMost()
    {
        BalancingPolicy policy = new(4, s_settings);
        for (int round = 0; round < 200; round++)
        {
            ChannelLook full = new(round, false, true, 1, 0, 0, 0, 0);
            policy.Look([full, full, full with { Work = 0.1 }, full with { Work = 0.1 }]);
        }

        long[] given = new long[16];
        given[(0 * 4) + 3] = 5;
        given[(1 * 4) + 2] = 5;
        given[(1 * 4) + 3] = 4;
        ushort[] before = policy.Owners.ToArray();
        Assert.True(policy.Migrate(given));
        var moves = before.Zip(policy.Owners.ToArray()).Where(pair => pair.First != pair.Second)
            .Select(pair => ((int)pair.First, (int)pair.Second)).Order();
        Assert.Equal([(0, 3), (1, 2)], moves);
    }

    [Fact]
    public void Look_BusyForMoreThanABurst_IsBusyForLongUntilItIsNoLongerBusy()
    {
        BalancingPolicy policy = new(2, s_settings);
        for (int round = 0; round < s_settings.LongBusyLooks; round++)
        {
            Assert.False(policy.IsBusyForLong(0));
            policy.Look([new(round, false, true, 1, 5, 0, 1, 9), new(round, true, true, 0, 0, 0, 0, 0)]);
            Assert.True(policy.IsBusy(0));
        }

        Assert.True(policy.IsBusyForLong(0));
        for (int round = 0; round < 50; round++)
        {
            policy.Look([new(round, true, true, 0, 0, 0, 0, 0), new(round, true, true, 0, 0, 0, 0, 0)]);
            Assert.False(policy.IsBusyForLong(0) && !policy.IsBusy(0));
        }

        Assert.False(policy.IsBusyForLong(0));
    }

    /// <summary>Between the two thresholds a channel stays what it is.</summary>
    [Fact]
    public void Look_PressureBetweenTheThresholds_NoFlapping()
    {
        BalancingPolicy policy = new(2, s_settings);
        int changes = 0;
        bool busy = false;
        for (int round = 0; round < 600; round++)
        {
            // Up to twice the other's, then between 1.3 and 1.45 times, where neither threshold is crossed.
            double pressure = round < 50 ? 2 : round % 20 < 10 ? 1.3 : 1.45;
            policy.Look([new(round, false, true, 1, pressure, 0, 0, 0), new(round, false, true, 1, 1, 0, 0, 0)]);
            changes += policy.IsBusy(0) != busy ? 1 : 0;
            busy = policy.IsBusy(0);
        }

        Assert.True(busy);
        Assert.Equal(1, changes);
        for (int round = 600; round < 650; round++)
        {
            policy.Look([new(round, false, true, 1, 1.1, 0, 0, 0), new(round, false, true, 1, 1, 0, 0, 0)]);
        }

        Assert.False(policy.IsBusy(0));
    }

    [Theory]
    [InlineData(1, 64)]
    [InlineData(3, 128)]
    [InlineData(4, 128)]
    [InlineData(128, 4_096)]
    [InlineData(1_024, 4_096)]
    public void GroupsFor_AnyChannels_APowerOfTwoWithinTheLimits(int channels, int groups) =>
        Assert.Equal(groups, BalancingPolicy.GroupsFor(channels, s_settings.GroupsPerChannel));

    private static void Check(BalancingPolicy policy, int channels)
    {
        bool anyLive = Enumerable.Range(0, channels).Any(channel => !policy.IsHung(channel));
        int[] owned = new int[channels];
        foreach (ushort owner in policy.Owners)
        {
            owned[owner]++;
        }

        for (int channel = 0; channel < channels; channel++)
        {
            Assert.Equal(owned[channel], policy.GroupsOf(channel));
            Assert.False(anyLive && policy.IsHung(channel) && owned[channel] > 0, "a hung channel owns a group");
            Assert.False(policy.IsBusy(channel) && policy.IsHung(channel), "busy and hung");
        }
    }

    private static void Rounds(BalancingPolicy policy, long[] turns, int count, int stuck)
    {
        for (int i = 0; i < count; i++)
        {
            policy.Look([.. turns.Select((_, channel) => new ChannelLook(
                channel == stuck ? turns[channel] : ++turns[channel], false, true, 0.2, 0.1, 0, 0, 3))]);
        }
    }
}
