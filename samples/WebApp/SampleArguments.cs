// The sample's own command line: parsing, checking, help. Everything with a ':' is ordinary .NET configuration.
using System.Globalization;

namespace WebApp;

internal enum SampleTransport
{
    MegaPipe,
    Sockets,
    SocketsInline,
}

internal sealed record SampleArguments(SampleTransport Transport, int? HttpsPort, int? H2cPort)
{
    public const string Help = """
          --transport megapipe|sockets|sockets-inline   what serves connections (default megapipe)
          --urls http://localhost:5000                  where to listen; several with ';'
          --https-port N                                also serve TLS on N (makes a certificate if none is configured)
          --h2c-port N                                  also serve cleartext HTTP/2 on N
          --SECTION:KEY VALUE                           any configuration value, e.g. --MegaPipe:Channels 2
          --help                                        this text
        """;

    /// <summary>In the order of <see cref="SampleTransport"/>.</summary>
    private static readonly string[] s_transports = ["megapipe", "sockets", "sockets-inline"];

    private static readonly string[] s_hostKeys =
    [
        "transport", "https-port", "h2c-port", "urls", "http_ports", "https_ports", "environment", "contentroot",
        "applicationname", "webroot", "allowedhosts", "preferhostingurls",
    ];

    public string TransportName => s_transports[(int)Transport];

    /// <summary>Refuses what the configuration provider would silently ignore: unknown names, missing values.</summary>
    /// <param name="args">The command line.</param>
    /// <param name="own">An argument that only this sample takes.</param>
    /// <exception cref="FormatException">The text names the argument.</exception>
    public static void Check(string[] args, string? own)
    {
        for (int i = 0; i < args.Length; i++)
        {
            string[] parts = args[i].Split('=', 2);
            string key = parts[0].TrimStart('-', '/');
            bool known = key.Contains(':', StringComparison.Ordinal)
                || s_hostKeys.Contains(key, StringComparer.OrdinalIgnoreCase)
                || string.Equals(key, own, StringComparison.OrdinalIgnoreCase);
            if (!known || (parts.Length == 1 && !args[i].StartsWith("--", StringComparison.Ordinal)))
            {
                throw new FormatException($"unknown argument '{args[i]}'; --help lists what is known.");
            }

            if (parts.Length == 1 && ++i == args.Length)
            {
                throw new FormatException($"{args[i - 1]} needs a value.");
            }
        }
    }

    /// <summary>The sample's values from configuration: command line and environment, merged.</summary>
    /// <exception cref="FormatException">The text names the value.</exception>
    public static SampleArguments Read(IConfiguration configuration)
    {
        string name = configuration["transport"] ?? s_transports[0];
        int transport = Array.IndexOf(s_transports, name);
        return transport < 0
            ? throw new FormatException($"--transport '{name}' is not one of {string.Join(", ", s_transports)}.")
            : new((SampleTransport)transport, Port(configuration, "https-port"), Port(configuration, "h2c-port"));
    }

    private static int? Port(IConfiguration configuration, string key) =>
        configuration[key] is not { } text ? null
        : ushort.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out ushort port) && port > 0 ? port
        : throw new FormatException($"--{key} '{text}' is not a port from 1 to 65535.");
}
