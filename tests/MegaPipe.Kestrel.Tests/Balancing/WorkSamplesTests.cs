// Who was seen at work: how much of it is whose, and that old looks are forgotten.
using MegaPipe.Kestrel.Internal.Balancing;

namespace MegaPipe.Kestrel.Tests.Balancing;

[Trait("Area", "Balancing")]
public sealed class WorkSamplesTests
{
    private const int Looks = 64;

    [Fact]
    public void Part_OneIsSeenMoreOften_ItHasThatPartAndTheOthersAsLittleAsAnybody()
    {
        WorkSamples<string> samples = new();
        for (int i = 0; i < Looks; i++)
        {
            samples.Add(i % 4 == 0 ? "heavy" : i % 4 == 1 ? null : $"light {i}");
        }

        Assert.Equal(1.0 / 3, samples.Part("heavy", 1_000), 3);
        Assert.Equal("light 63", samples[0]);
        Assert.Equal(1.0 / 24, samples.Part("light 63", 1_000), 3); // no less than what the looks can tell
        Assert.Equal(1.0 / 5, samples.Part("light 63", 5), 3);
        Assert.Null(samples[2]);
        Assert.Equal("heavy", samples[3]);
    }

    [Fact]
    public void Remove_AndClear_NothingIsLeft()
    {
        WorkSamples<string> samples = new();
        for (int i = 0; i < Looks; i++)
        {
            samples.Add(i % 2 == 0 ? "gone" : "here");
        }

        samples.Remove("gone");
        for (int i = 0; i < WorkSamples<string>.Most; i++)
        {
            Assert.NotEqual("gone", samples[i]);
        }

        Assert.Equal(1, samples.Part("here", 10));
        samples.Clear();
        Assert.Null(samples[0]);
    }

    [Fact]
    public void Index_FewLooks_NobodyIsNamed()
    {
        WorkSamples<string> samples = new();
        for (int i = 0; i < 7; i++)
        {
            samples.Add("one");
        }

        Assert.Null(samples[0]);
        samples.Add("one");
        Assert.Equal("one", samples[0]);
    }
}
