// What crank would refuse, or silently ignore, in the YAML files.
using System.Text.RegularExpressions;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace MegaPipe.Crank.Tests;

public sealed partial class YamlTests
{
    private static readonly string[] s_crankOptions =
    [
        "--config", "--scenario", "--profile", "--variable", "--json", "--debug", "--application.job",
        "--application.options.counterProviders",
    ];

    // Top-level keys, and keys of a job, of the controller's version of June 2026 that these files may use. Crank
    // ignores every other key without a word.
    private static readonly string[] s_rootKeys =
    [
        "variables", "jobs", "scenarios", "profiles", "scripts", "counters", "results", "onResultsCreating", "commands",
    ];

    private static readonly string[] s_jobKeys =
    [
        "sources", "project", "executable", "arguments", "readyStateText", "isConsoleApp", "waitForExit", "variables",
        "options", "environmentVariables", "onConfigure", "framework", "channel", "sdkVersion", "runtimeVersion",
        "aspNetCoreVersion", "selfContained", "noBuild", "buildArguments", "timeout", "startTimeout", "cpuSet",
        "memoryLimitInBytes", "endpoints", "beforeScript", "afterScript", "stoppingScript", "port",
    ];

    private static readonly string[] s_serviceKeys = [.. s_jobKeys, "job", "agent"];
    private static readonly string[] s_profileKeys = [.. s_jobKeys, "jobs", "agents"];
    private static readonly string[] s_versionKeys = ["sdkVersion", "runtimeVersion", "aspNetCoreVersion"];
    private static readonly string[] s_environments = ["local", "two-machine"];
    private static readonly string[] s_services = ["application", "load"];
    private static readonly Dictionary<string, string> s_nothing = [];

    private readonly CrankConfiguration _configuration = CrankConfiguration.Load();

    [Fact]
    public void Files_AllKeys_AreKnownToCrank()
    {
        foreach (string file in Repository.YamlFiles)
        {
            YamlMappingNode root = CrankConfiguration.LoadFile(file);
            AssertKnown(file, root, s_rootKeys);
            foreach ((string name, YamlMappingNode job) in Children(root, "jobs"))
            {
                AssertKnown($"{file}: job {name}", job, s_jobKeys);
            }

            foreach ((string name, YamlMappingNode scenario) in Children(root, "scenarios"))
            {
                AssertKnown($"{file}: scenario {name}", scenario, s_services);
                foreach ((YamlNode key, YamlNode service) in scenario.Children)
                {
                    AssertKnown($"{file}: {name}/{key}", (YamlMappingNode)service, s_serviceKeys);
                }
            }

            foreach ((string name, YamlMappingNode profile) in Children(root, "profiles"))
            {
                AssertKnown($"{file}: profile {name}", profile, s_profileKeys);
            }
        }
    }

    [Fact]
    public void Files_Together_NameNothingTwice()
    {
        // Crank merges files: a job that two of them name becomes a mixture of both, and lists in it are appended.
        string[] names = [.. Repository.YamlFiles.SelectMany(file => CrankConfiguration.LoadFile(file).Children)
            .Where(section => section.Value is YamlMappingNode)
            .SelectMany(section => CrankConfiguration.Names((YamlMappingNode)section.Value)
                .Select(name => $"{section.Key}/{name}"))];
        Assert.Equal(names.Length, names.Distinct().Count());
    }

    [Fact]
    public void Counters_AreThoseThatCrankStores_UnderTheirOwnName()
    {
        string source = File.ReadAllText(Path.Combine(
            Repository.Root, "src/MegaPipe.Kestrel/Internal/Diagnostics/MegaPipeMetrics.cs"));
        YamlNode provider = Assert.Single((YamlSequenceNode)_configuration.Root["counters"]);
        Assert.Contains(
            $"MeterName = \"{CrankConfiguration.Text(provider["provider"])}\"", source, StringComparison.Ordinal);
        string[] names = [.. ((YamlSequenceNode)provider["values"]).Select(
            counter => CrankConfiguration.Text(counter["name"]))];
        Assert.NotEmpty(names);
        foreach (YamlNode counter in (YamlSequenceNode)provider["values"])
        {
            Assert.Equal(CrankConfiguration.Text(counter["name"]), CrankConfiguration.Text(counter["measurement"]));
        }

        YamlSequenceNode results = (YamlSequenceNode)_configuration.Root["results"];
        Assert.Equal(names, results.Select(result => CrankConfiguration.Text(result["measurement"])));
        Assert.Equal(names, results.Select(result => CrankConfiguration.Text(result["name"])));
    }

    [Fact]
    public void Commands_OfTheReadme_UseOptionsThatCrankHas()
    {
        string text = File.ReadAllText(Path.Combine(Repository.Crank, "README.md"))
            .Replace("\\\n", " ", StringComparison.Ordinal);
        string[] starts = ["bench ", "alias bench=", "crank "];
        string[] commands = [.. text.Split('\n').Where(
            line => starts.Any(start => line.StartsWith(start, StringComparison.Ordinal)))];
        Assert.NotEmpty(commands);
        foreach (Match option in commands.SelectMany(command => Option().Matches(command)))
        {
            Assert.Contains(option.Value, s_crankOptions);
        }

        // A variable is a variable of everything: crank has no option for one of a service.
        Assert.DoesNotContain(".variables.", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Variables_GivenForTheApplication_ReplaceNothingThatAScenarioNeeds()
    {
        Dictionary<string, string> given = new() { ["applicationOptions"] = "--MegaPipe:Channels 1" };
        foreach (string scenario in _configuration.Scenarios)
        {
            string without = CrankConfiguration.Resolve(scenario, "application", ["local"], s_nothing).Arguments;
            string with = CrankConfiguration.Resolve(scenario, "application", ["local"], given).Arguments;
            Assert.Equal([.. Words(without), "--MegaPipe:Channels", "1"], Words(with));
        }

        Assert.Contains(
            "--h2c-port 5001", CrankConfiguration.Resolve("h2", "application", ["local"], given).Arguments,
            StringComparison.Ordinal);
    }

    [Fact]
    public void Files_HaveNoAnchorsAndNoFluidStatements()
    {
        // Aliases survive crank's way through JSON only by luck; {% %} is more than the local runner understands.
        foreach (string file in Repository.YamlFiles)
        {
            string text = File.ReadAllText(Path.Combine(Repository.Crank, file));
            Assert.DoesNotContain("{%", text, StringComparison.Ordinal);
            Assert.DoesNotMatch(@"(?m):\s+[&*]\w", text);
        }
    }

    [Fact]
    public void Versions_AreStrings()
    {
        foreach (YamlMappingNode mapping in _configuration.Root.AllNodes.OfType<YamlMappingNode>())
        {
            foreach ((YamlNode key, YamlNode value) in mapping.Children)
            {
                if (key is YamlScalarNode name && s_versionKeys.Contains(name.Value))
                {
                    ScalarStyle style = Assert.IsType<YamlScalarNode>(value).Style;
                    Assert.True(
                        style is ScalarStyle.DoubleQuoted or ScalarStyle.SingleQuoted,
                        $"{name.Value}: 10.0 is a number");
                }
            }
        }
    }

    [Theory]
    [MemberData(nameof(Scenarios))]
    public void Scenario_EachService_HasJobEndpointAndDefinedVariables(string scenario)
    {
        foreach (string environment in s_environments)
        {
            foreach (string[] profiles in new string[][] { [environment], [environment, "short"] })
            {
                foreach (string service in s_services)
                {
                    ResolvedJob job = CrankConfiguration.Resolve(scenario, service, profiles, s_nothing);
                    Uri endpoint = new(Assert.Single(job.Endpoints));
                    Assert.Equal(5010, endpoint.Port);
                    Assert.DoesNotContain("{{", job.Arguments, StringComparison.Ordinal);
                }
            }
        }
    }

    [Fact]
    public void ApplicationJobs_Are_TheThreeTransportsAndPrintTheReadyText()
    {
        (string Name, YamlMappingNode Job)[] applications =
            [.. Children(_configuration.Root, "jobs").Where(job => !IsTrue(job.Node, "waitForExit"))];
        Assert.Equal(["megapipe", "sockets", "sockets-inline"], applications.Select(job => job.Name));
        foreach ((string name, YamlMappingNode job) in applications)
        {
            string arguments = CrankConfiguration.Text(job["arguments"]);
            Assert.Contains($"--transport {name} ", arguments, StringComparison.Ordinal);
            // That the app prints it is what every scenario test waits for.
            Assert.Equal("Application started.", CrankConfiguration.Text(job["readyStateText"]));
        }
    }

    [Fact]
    public void LoadJobs_WaitForExitAndAreConsoleApps()
    {
        HashSet<string> loads = [.. _configuration.Scenarios.Select(
            scenario => CrankConfiguration.Text(_configuration.Section("scenarios")[scenario]["load"]["job"]))];
        foreach (string load in loads)
        {
            YamlNode job = _configuration.Section("jobs")[load];
            Assert.True(IsTrue(job, "waitForExit"), load);
            Assert.True(IsTrue(job, "isConsoleApp"), load);
        }
    }

    [Fact]
    public void Paths_OfSourcesAndExecutables_ExistOrAreMadeByPrepare()
    {
        string prepare = File.ReadAllText(Path.Combine(Repository.Crank, "prepare"));
        foreach ((string name, YamlMappingNode job) in Children(_configuration.Root, "jobs"))
        {
            Dictionary<string, string> folders = [];
            foreach ((YamlNode source, YamlNode node) in ((YamlMappingNode)job["sources"]).Children)
            {
                string folder = CrankConfiguration.Text(node["localFolder"]);
                folders[CrankConfiguration.Text(source)] = folder;
                Assert.True(
                    Directory.Exists(Path.Combine(Repository.Crank, folder))
                    || (folder.StartsWith("../artifacts/", StringComparison.Ordinal)
                        && prepare.Contains(folder["../".Length..], StringComparison.Ordinal)),
                    $"{name}: nothing makes {folder}");
            }

            string executable = CrankConfiguration.Text(job["executable"]);
            if (Path.IsPathRooted(executable))
            {
                Assert.Equal("/usr/bin/taskset", executable);
                Assert.Contains(" app/WebApp ", CrankConfiguration.Text(job["arguments"]), StringComparison.Ordinal);
                Assert.Equal("../artifacts/webapp", folders["app"]);
            }
            else
            {
                string[] parts = executable.Split('/', 2);
                string file = Path.Combine(Repository.Crank, folders[parts[0]], parts[1]);
                Assert.True(
                    OperatingSystem.IsWindows()
                        ? File.Exists(file)
                        : File.GetUnixFileMode(file).HasFlag(UnixFileMode.UserExecute),
                    $"{executable} is not there, or not executable");
            }
        }
    }

    [Fact]
    public void Resolve_UndefinedVariable_Throws()
    {
        // Crank would put nothing in its place; here it must be an error, or the checks above check nothing.
        Assert.Throws<InvalidDataException>(() => CrankConfiguration.Resolve("json", "load", [], s_nothing));
    }

    public static TheoryData<string> Scenarios() => [.. CrankConfiguration.Load().Scenarios];

    private static IEnumerable<(string Name, YamlMappingNode Node)> Children(YamlMappingNode root, string section) =>
        CrankConfiguration.Get(root, section) is YamlMappingNode mapping
            ? mapping.Children.Select(pair => (CrankConfiguration.Text(pair.Key), (YamlMappingNode)pair.Value))
            : [];

    private static bool IsTrue(YamlNode job, string key) =>
        CrankConfiguration.Get(job, key) is YamlScalarNode { Value: "true" };

    private static void AssertKnown(string where, YamlMappingNode node, string[] known)
    {
        string[] unknown = [.. CrankConfiguration.Names(node).Except(known)];
        Assert.True(unknown.Length == 0, $"{where}: crank does not know {string.Join(", ", unknown)}");
    }

    private static string[] Words(string text) => text.Split(' ', StringSplitOptions.RemoveEmptyEntries);

    [GeneratedRegex(@"(?<= )--[\w.]+")]
    private static partial Regex Option();
}
