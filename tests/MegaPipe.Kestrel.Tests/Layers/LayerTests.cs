// The folders of the transport's internals as layers: each knows those below it only (docs/ARCHITECTURE.md, section 1).
// What is looked at are the assemblies, so a reference inside of a method or a lambda counts as well.
using ArchUnitNET.Domain;
using ArchUnitNET.Fluent;
using ArchUnitNET.Loader;
using ArchUnitNET.xUnit;
using static ArchUnitNET.Fluent.ArchRuleDefinition;

namespace MegaPipe.Kestrel.Tests.Layers;

[Trait("Area", "Layers")]
public sealed class LayerTests
{
    private const string Root = "MegaPipe.Kestrel.Internal";

    /// <summary>From the ground up.</summary>
    private static readonly string[] s_layers =
    [
        "Diagnostics", "Configuration", "Steering", "Balancing", "Carrying", "Channels", "Pipes", "Connections",
        "Listening", "Connecting",
        "Requests",
    ];

    private static readonly Architecture s_architecture =
        new ArchLoader().LoadAssemblies(typeof(MegaPipeTransportFactory).Assembly).Build();

    public static TheoryData<string, string> Upwards
    {
        get
        {
            TheoryData<string, string> pairs = [];
            for (int layer = 0; layer < s_layers.Length; layer++)
            {
                for (int above = layer + 1; above < s_layers.Length; above++)
                {
                    pairs.Add(s_layers[layer], s_layers[above]);
                }
            }

            return pairs;
        }
    }

    [Theory]
    [MemberData(nameof(Upwards))]
    public void Layer_OfTheInternals_KnowsNothingOfOneAboveIt(string layer, string above) =>
        Types().That().ResideInNamespace($"{Root}.{layer}")
            .Should().NotDependOnAny(Types().That().ResideInNamespace($"{Root}.{above}"))
            .Check(s_architecture);

    [Fact]
    public void Internals_KnowOfThePublicTypesOnlyThoseThatHoldData()
    {
        IObjectProvider<IType> entries = Types().That().Are(
            typeof(MegaPipeTransportFactory), typeof(MegaPipeConnectionContextFactory), typeof(MegaPipeStatus),
            typeof(MegaPipeChannels), typeof(MegaPipeConnectionFactory), typeof(MegaPipeHttpMessageHandler),
            typeof(System.Net.Http.SocketsHttpHandlerMegaPipeExtensions),
            typeof(Microsoft.Extensions.DependencyInjection.HttpClientBuilderMegaPipeExtensions),
            typeof(Microsoft.AspNetCore.Hosting.WebHostBuilderMegaPipeExtensions),
            typeof(Microsoft.Extensions.DependencyInjection.MegaPipeServiceCollectionExtensions));
        Types().That().ResideInNamespaceMatching($@"^{Root}\.").Should().NotDependOnAny(entries).Check(s_architecture);
    }

    [Fact]
    public void EveryInternalType_IsInALayer()
    {
        string[] folders =
        [
            .. s_architecture.Types.Select(type => type.Namespace.FullName)
                .Where(name => name.StartsWith(Root, StringComparison.Ordinal)).Distinct(),
        ];
        Assert.Equal(s_layers.Select(layer => $"{Root}.{layer}").Order(), folders.Order());
    }
}
