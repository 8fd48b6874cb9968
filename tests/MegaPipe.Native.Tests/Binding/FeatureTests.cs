// The feature report on this machine. Tests of channels need it to be supported, so this says first why not.
namespace MegaPipe.Native.Tests.Binding;

public sealed class FeatureTests
{
    [Fact]
    public void Report_Here_IsSupported()
    {
        Assert.True(MegaPipeFeatures.IsSupported, MegaPipeFeatures.Reason);
        Assert.Null(MegaPipeFeatures.Reason);
    }

    [Fact]
    public void Features_Here_HaveNamesAndReasonsWhereMissing()
    {
        Assert.Equal(FeatureSet.Count, MegaPipeFeatures.Features.Count);
        Assert.Equal(FeatureSet.Count, MegaPipeFeatures.Features.Select(feature => feature.Name).Distinct().Count());
        Assert.All(MegaPipeFeatures.Features, feature =>
        {
            Assert.Matches("^[a-z_]+$", feature.Name);
            Assert.Equal(feature.Available, feature.Reason is null);
            Assert.NotEqual("", feature.Reason);
        });
    }

    [Fact]
    public void Has_EachFeature_AgreesWithTheList()
    {
        foreach (Feature feature in Enum.GetValues<Feature>())
        {
            Assert.Equal(MegaPipeFeatures.Features[(int)feature].Available, MegaPipeFeatures.Has(feature));
        }
    }
}
