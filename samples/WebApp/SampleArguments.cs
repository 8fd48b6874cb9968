// The sample's own command line: parsing, checking, help. Everything with a ':' is ordinary .NET configuration.
using System.Globalization;

namespace WebApp;

internal enum SampleTransport
{
    MegaPipe,
    Sockets,
    SocketsInline,
}

internal sealed record SampleArguments(
    SampleTransport Transport = SampleTransport.MegaPipe, int? HttpsPort = null, int? H2cPort = null,
    bool ShowHelp = false)
{
    public const string Help = """
        WebApp: a sample on MegaPipe for Kestrel

          --transport megapipe|sockets|sockets-inline   what serves connections (default megapipe)
          --urls http://localhost:5000                  where to listen; several with ';'
          --https-port N                                also serve TLS on N (makes a certificate if none is configured)
          --h2c-port N                                  also serve cleartext HTTP/2 on N
          --SECTION:KEY VALUE                           any configuration value, e.g. --MegaPipe:Channels 2
          --help                                        this text

        Routes: / /plaintext /json /bytes/{n} /upload /echo /delay/{ms} /block/{ms} /spin/{ms} /nested /ws
                /transport
        """;

    private static readonly string[] s_hostKeys =
    [
        "transport", "https-port", "h2c-port", "urls", "http_ports", "https_ports", "environment", "contentroot",
        "applicationname", "webroot", "allowedhosts", "preferhostingurls",
    ];

    public string TransportName => Transport switch
    {
        SampleTransport.MegaPipe => "megapipe",
        SampleTransport.Sockets => "sockets",
        _ => "sockets-inline",
    };

    /// <summary>Refuses what the configuration provider would silently ignore: unknown names, missing values.</summary>
    public static bool TryParse(string[] args, out SampleArguments arguments, out string? error)
    {
        arguments = new SampleArguments();
        error = null;
        for (int i = 0; i < args.Length; i++)
        {
            string argument = args[i];
            if (argument is "--help" or "-h" or "-?")
            {
                arguments = arguments with { ShowHelp = true };
                continue;
            }

            int equals = argument.IndexOf('=', StringComparison.Ordinal);
            string key = (equals < 0 ? argument : argument[..equals]).TrimStart('-', '/');
            bool known = key.Contains(':', StringComparison.Ordinal)
                || s_hostKeys.Contains(key, StringComparer.OrdinalIgnoreCase);
            if (!known || (equals < 0 && !argument.StartsWith("--", StringComparison.Ordinal)))
            {
                error = $"WebApp: unknown argument '{argument}'; --help lists what is known.";
                return false;
            }

            if (equals < 0 && ++i == args.Length)
            {
                error = $"WebApp: {argument} needs a value.";
                return false;
            }
        }

        return true;
    }

    /// <summary>Reads the sample's values from configuration: command line and environment, merged.</summary>
    public static bool TryResolve(IConfiguration configuration, out SampleArguments arguments, out string? error)
    {
        arguments = new SampleArguments();
        string transport = configuration["transport"] ?? "megapipe";
        switch (transport)
        {
            case "megapipe":
                break;
            case "sockets":
                arguments = arguments with { Transport = SampleTransport.Sockets };
                break;
            case "sockets-inline":
                arguments = arguments with { Transport = SampleTransport.SocketsInline };
                break;
            default:
                error = $"WebApp: --transport '{transport}' is not one of megapipe, sockets, sockets-inline.";
                return false;
        }

        if (!TryPort(configuration, "https-port", out int? httpsPort, out error)
            || !TryPort(configuration, "h2c-port", out int? h2cPort, out error))
        {
            return false;
        }

        arguments = arguments with { HttpsPort = httpsPort, H2cPort = h2cPort };
        return true;
    }

    private static bool TryPort(IConfiguration configuration, string key, out int? port, out string? error)
    {
        port = null;
        error = null;
        string? text = configuration[key];
        if (text is null)
        {
            return true;
        }

        if (!int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out int value)
            || value is < 1 or > 65_535)
        {
            error = $"WebApp: --{key} '{text}' is not a port from 1 to 65535.";
            return false;
        }

        port = value;
        return true;
    }
}
