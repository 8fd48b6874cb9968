// The system's Chromium, headless, one for all tests; where there is none they are skipped and say so.
using PuppeteerSharp;

namespace MegaPipe.Kestrel.Page.Tests;

/// <summary>A test that needs a browser.</summary>
public sealed class BrowserFactAttribute : FactAttribute
{
    public BrowserFactAttribute()
    {
        if (Browser.Path is null)
        {
            Skip = $"none of {string.Join(", ", Browser.Paths)} is here";
        }
    }
}

public sealed class Browser : IAsyncLifetime
{
    internal static readonly string[] Paths =
        ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

    private IBrowser? _browser;

    public static string? Path { get; } = Array.Find(Paths, File.Exists);

    public async Task InitializeAsync()
    {
        if (Path is not null)
        {
            _browser = await Puppeteer.LaunchAsync(new LaunchOptions
            {
                ExecutablePath = Path,
                Headless = true,
                Timeout = 120_000,
                // In a container there is neither a sandbox for root nor much shared memory.
                Args = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"],
            });
        }
    }

    public Task<IPage> NewPageAsync() => _browser!.NewPageAsync();

    public async Task DisposeAsync()
    {
        if (_browser is not null)
        {
            await _browser.CloseAsync();
            await _browser.DisposeAsync();
        }
    }
}
