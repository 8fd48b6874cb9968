// The YAML as crank understands it, written a second time: crank/runner/configuration.py must agree with it.
using System.Text.RegularExpressions;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace MegaPipe.Crank.Tests;

/// <summary>A process to start, with every template filled.</summary>
internal sealed record ResolvedJob(
    string Name, string Executable, string Arguments, string ReadyStateText,
    IReadOnlyDictionary<string, string> Sources, IReadOnlyDictionary<string, string> Variables,
    IReadOnlyList<string> Endpoints);

internal sealed partial class CrankConfiguration
{
    private CrankConfiguration(YamlMappingNode root) => Root = root;

    public YamlMappingNode Root { get; }

    public IEnumerable<string> Scenarios => Names(Section("scenarios"));

    public static CrankConfiguration Load()
    {
        YamlMappingNode merged = [];
        foreach (string file in Repository.YamlFiles)
        {
            Merge(merged, LoadFile(file));
        }

        return new CrankConfiguration(merged);
    }

    public static YamlMappingNode LoadFile(string file)
    {
        YamlStream stream = [];
        using StreamReader reader = new(Path.Combine(Repository.Crank, file));
        stream.Load(reader);
        return (YamlMappingNode)Assert.Single(stream.Documents).RootNode;
    }

    public YamlMappingNode Section(string name) => (YamlMappingNode)Root[name];

    public static IEnumerable<string> Names(YamlMappingNode node) => node.Children.Keys.Select(Text);

    public static string Text(YamlNode node) => ((YamlScalarNode)node).Value ?? "";

    public static YamlNode? Get(YamlNode node, string key) =>
        ((YamlMappingNode)node).Children.TryGetValue(new YamlScalarNode(key), out YamlNode? value) ? value : null;

    /// <summary>One service of a scenario, resolved as crank's controller does.</summary>
    public ResolvedJob Resolve(
        string scenario, string service, string[] profiles, IReadOnlyDictionary<string, string> overrides,
        string? job = null)
    {
        YamlNode patch = Section("scenarios")[scenario][service];
        string jobName = job ?? Text(patch["job"]);
        YamlMappingNode merged = [];
        Merge(merged, (YamlMappingNode)Section("jobs")[jobName]);
        Merge(merged, (YamlMappingNode)patch);
        foreach (string profile in profiles)
        {
            YamlMappingNode node = (YamlMappingNode)Section("profiles")[profile];
            Merge(merged, node);
            if (Get(node, "jobs") is YamlMappingNode agents && Get(agents, service) is YamlMappingNode agent)
            {
                Merge(merged, agent);
            }
        }

        Dictionary<string, string> variables = [];
        AddAll(variables, Get(Root, "variables"));
        AddAll(variables, Get(merged, "variables"));
        foreach ((string name, string value) in overrides)
        {
            variables[name] = value;
        }

        Dictionary<string, string> filled = variables.ToDictionary(
            pair => pair.Key, pair => Fill(pair.Value, variables, $"variable {pair.Key}"));
        string where = $"job {jobName} in scenario {scenario}";
        return new ResolvedJob(
            jobName,
            Fill(Text(merged["executable"]), filled, where),
            Fill(Text(merged["arguments"]), filled, where),
            Get(merged, "readyStateText") is YamlNode ready ? Text(ready) : "",
            ((YamlMappingNode)merged["sources"]).Children.ToDictionary(
                pair => Text(pair.Key), pair => Text(pair.Value["localFolder"])),
            filled,
            Get(merged, "endpoints") is YamlSequenceNode list
                ? [.. list.Select(node => Fill(Text(node), filled, where))]
                : []);
    }

    private static void AddAll(Dictionary<string, string> variables, YamlNode? node)
    {
        if (node is YamlMappingNode mapping)
        {
            foreach ((YamlNode key, YamlNode value) in mapping.Children)
            {
                variables[Text(key)] = Text(value);
            }
        }
    }

    private static string Fill(string text, Dictionary<string, string> variables, string where) =>
        Template().Replace(text, match => variables.TryGetValue(match.Groups[1].Value, out string? value)
            ? value
            : throw new YamlException($"{where} uses {match.Value}, which is not defined"));

    private static void Merge(YamlMappingNode target, YamlMappingNode other)
    {
        foreach ((YamlNode key, YamlNode value) in other.Children)
        {
            YamlNode? present = target.Children.TryGetValue(key, out YamlNode? node) ? node : null;
            switch (value)
            {
                case YamlMappingNode mapping:
                    // Always a copy: what is merged into it must not change the file's own nodes.
                    YamlMappingNode copy = [];
                    if (present is YamlMappingNode presentMapping)
                    {
                        Merge(copy, presentMapping);
                    }

                    Merge(copy, mapping);
                    target.Children[key] = copy;
                    break;
                case YamlSequenceNode sequence when present is YamlSequenceNode presentSequence:
                    target.Children[key] = new YamlSequenceNode(presentSequence.Children.Concat(sequence.Children));
                    break;
                default:
                    target.Children[key] = value;
                    break;
            }
        }
    }

    [GeneratedRegex(@"\{\{\s*(\w+)\s*\}\}")]
    private static partial Regex Template();
}
