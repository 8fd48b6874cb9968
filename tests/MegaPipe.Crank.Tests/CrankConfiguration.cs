// The YAML files, merged, and what the runner makes of a scenario (crank/runner/configuration.py).
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json;
using YamlDotNet.RepresentationModel;

namespace MegaPipe.Crank.Tests;

/// <summary>A process to start, with every template filled.</summary>
internal sealed record ResolvedJob(
    string Name, string Executable, string Arguments, string ReadyText, IReadOnlyList<string> Endpoints,
    IReadOnlyDictionary<string, JsonElement> Variables);

internal sealed class CrankConfiguration
{
    private static readonly JsonSerializerOptions s_snakeCase = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
    };

    private static readonly ConcurrentDictionary<string, Dictionary<string, Dictionary<string, ResolvedJob>>>
        s_resolved = new();

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

    /// <summary>One service of a scenario, as the local runner resolves it.</summary>
    /// <exception cref="InvalidDataException">It cannot be: a variable is not defined.</exception>
    public static ResolvedJob Resolve(
        string scenario, string service, string[] profiles, IReadOnlyDictionary<string, string> overrides,
        string? job = null)
    {
        Dictionary<string, string> jobs = job is null ? [] : new() { ["application"] = job };
        string asked = JsonSerializer.Serialize(new { profiles, variables = overrides, jobs });
        return s_resolved.GetOrAdd(asked, ResolveAll)[scenario][service];
    }

    private static Dictionary<string, Dictionary<string, ResolvedJob>> ResolveAll(string asked)
    {
        using Process process = new()
        {
            StartInfo = new ProcessStartInfo(
                "/usr/bin/python3", ["-B", "runner/configuration.py", asked, .. Repository.YamlFiles])
            {
                WorkingDirectory = Repository.Crank,
                RedirectStandardOutput = true,
                RedirectStandardError = true,
            },
        };
        process.Start();
        Task<string> error = process.StandardError.ReadToEndAsync();
        string json = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? JsonSerializer.Deserialize<Dictionary<string, Dictionary<string, ResolvedJob>>>(json, s_snakeCase)!
            : throw new InvalidDataException(error.Result);
    }

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
}
