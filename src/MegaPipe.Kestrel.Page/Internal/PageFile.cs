// The page as one file: style and script stand in it, and the policy allows exactly these two.
using System.Security.Cryptography;
using System.Text;

namespace MegaPipe.Kestrel.Page.Internal;

internal static class PageFile
{
    static PageFile()
    {
        string style = Read("page.css");
        string script = Read("page.js");
        Html = Encoding.UTF8.GetBytes(Read("page.html")
            .Replace("/*style*/", style, StringComparison.Ordinal)
            .Replace("/*script*/", script, StringComparison.Ordinal));
        // Of itself the page loads its data and nothing else; an own page may show it in a frame.
        ContentSecurityPolicy =
            $"default-src 'none'; script-src '{Hash(script)}'; style-src '{Hash(style)}'; connect-src 'self'; " +
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'";
    }

    public static byte[] Html { get; }

    public static string ContentSecurityPolicy { get; }

    private static string Hash(string text) =>
        $"sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(text)))}";

    /// <summary>With the line ends that a browser hashes, whatever a checkout made of them.</summary>
    private static string Read(string name)
    {
        using StreamReader reader = new(typeof(PageFile).Assembly.GetManifestResourceStream(name)!);
        return reader.ReadToEnd().ReplaceLineEndings("\n");
    }
}
