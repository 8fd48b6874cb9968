// The page in a real browser, while two endpoints block: what it says, that it reaches for nothing, that everybody can
// use it. What it looks like is in artifacts/page afterwards.
using Deque.AxeCore.Commons;
using Microsoft.Extensions.DependencyInjection;
using PuppeteerSharp;
using PuppeteerSharp.Media;

namespace MegaPipe.Kestrel.Page.Tests;

[Collection("One sampling in the process")]
public sealed class PageTests(Browser browser) : IClassFixture<Browser>
{
    /// <summary>The script of axe-core, as the package carries it.</summary>
    private static readonly string s_axe = new BundledAxeScriptProvider().GetScript();

    private static string Folder { get; } = Directory.CreateDirectory(
        Path.Combine(AppContext.BaseDirectory, "../../../../../artifacts/page")).FullName;

    [BrowserFact]
    public async Task TwoEndpointsBlock_ThePageSaysWhichAndWhoSuffers()
    {
        await using PageHost host = await PageHost.StartAsync();
        host.Load("/orders/7", 2, 3);
        host.Load("/stock", 1, 3);
        host.Load("/quick", 2, 100);
        await using IPage page = await OpenAsync(host, 1280, 900, "light");
        List<string> problems = Watch(page, host);
        await WaitAsync(page, "document.querySelector('#verdict').className === 'bad'");
        await WaitAsync(page, "document.querySelectorAll('#blocked-rows tr').length >= 2");
        await WaitAsync(page, "document.querySelector('#verdict-text').textContent.includes('suffers most')");
        await WaitAsync(page, "document.querySelectorAll('#lanes li').length === 2");
        await WaitAsync(page, "document.querySelector('#lanes li.worst .tag')?.textContent === 'suffers most'");
        string verdict = await TextAsync(page, "#verdict-title");
        Assert.Contains("GET /orders/{id}", verdict, StringComparison.Ordinal);
        Assert.Matches(
            "^In the last minute .+ of threads in all. Channel [01] suffers most: it was taken from a stuck thread ",
            await TextAsync(page, "#verdict-text"));
        string rows = await TextAsync(page, "#blocked-rows");
        Assert.Contains("GET /orders/{id}", rows, StringComparison.Ordinal);
        Assert.Contains("GET /stock", rows, StringComparison.Ordinal);
        Assert.DoesNotContain("/quick", rows, StringComparison.Ordinal);
        Assert.Contains(".Result, .Wait()", rows, StringComparison.Ordinal);
        Assert.Equal("serving", await TextAsync(page, "#serves"));

        // The lanes draw something, and go on.
        await WaitAsync(page, "document.querySelector('#lanes path.area').getAttribute('d').length > 20");
        string before = await page.EvaluateExpressionAsync<string>("document.querySelector('#lanes').textContent");
        string quoted = System.Text.Json.JsonSerializer.Serialize(before);
        await WaitAsync(page, $"document.querySelector('#lanes').textContent !== {quoted}");
        await ShootAsync(page, "light");
        await AxeAsync(page);

        await ShowInAsync(page, "dark");
        await ShootAsync(page, "dark");
        await AxeAsync(page);

        await page.SetViewportAsync(new ViewPortOptions { Width = 390, Height = 844, IsMobile = true });
        await ShootAsync(page, "phone");
        Assert.True(await page.EvaluateExpressionAsync<bool>(
            "document.documentElement.scrollWidth <= document.documentElement.clientWidth"));
        await AxeAsync(page);
        Assert.Empty(problems);
    }

    [BrowserFact]
    public async Task Stacks_OneClickShowsWhereInTheCode()
    {
        await using PageHost host = await PageHost.StartAsync(services: services => services.AddMegaPipeStacks());
        host.Load("/orders/7", 2, 10);
        await using IPage page = await OpenAsync(host, 1280, 900, "light");
        List<string> problems = Watch(page, host);
        await WaitAsync(page, "document.querySelectorAll('#blocked-rows tr').length >= 1");
        Assert.False(await page.EvaluateExpressionAsync<bool>("document.querySelector('#stacks-ask').hidden"));
        // A busy machine may see nothing block in two seconds.
        for (int i = 0; i < 10 && await page.EvaluateExpressionAsync<bool>("!document.querySelector('#stacks b')"); i++)
        {
            await page.FocusAsync("#stacks-button");
            await page.Keyboard.PressAsync("Enter");
            await WaitAsync(page, "!document.querySelector('#stacks-button').disabled");
        }

        Assert.EndsWith(".PageHost.Block", await TextAsync(page, "#stacks b"), StringComparison.Ordinal);
        Assert.Contains("GET /orders/{id}", await TextAsync(page, "#stacks summary"), StringComparison.Ordinal);
        Assert.Contains("Threading.Thread.Sleep", await TextAsync(page, "#stacks pre"), StringComparison.Ordinal);
        Assert.StartsWith("Sampled at ", await TextAsync(page, "#stacks-words"), StringComparison.Ordinal);
        await AxeAsync(page);
        await ShootAsync(page, "stacks");
        Assert.Empty(problems);
    }

    [BrowserFact]
    public async Task Keyboard_ReachesTheViewsTheButtonAndTheDetails()
    {
        await using PageHost host = await PageHost.StartAsync();
        await using IPage page = await OpenAsync(host, 1024, 800, "light");
        List<string> problems = Watch(page, host);
        await WaitAsync(page, "document.querySelectorAll('#views input').length > 5");
        await WaitAsync(page, "document.querySelector('#verdict').className === 'good'");
        await page.Keyboard.PressAsync("Tab");
        Assert.Equal("pause", await FocusAsync(page));
        await page.Keyboard.PressAsync("Space");
        Assert.Equal("Resume", await TextAsync(page, "#pause"));
        await page.Keyboard.PressAsync("Space");
        await page.Keyboard.PressAsync("Tab");
        if (await page.EvaluateExpressionAsync<bool>("!document.querySelector('#blocked').hidden"))
        {
            await page.Keyboard.PressAsync("Tab"); // the table is there: something was slow on a busy machine
        }

        Assert.Equal("view-work", await FocusAsync(page));
        await page.Keyboard.PressAsync("ArrowRight");
        Assert.Equal("view-turn", await FocusAsync(page));
        Assert.Contains("turn length", await TextAsync(page, "#legend"), StringComparison.Ordinal);
        for (int i = 0; i < 6; i++)
        {
            await page.Keyboard.PressAsync("ArrowRight");
        }

        Assert.Equal("view-groups", await FocusAsync(page));
        Assert.Contains("groups", await TextAsync(page, "#legend"), StringComparison.Ordinal);
        await WaitAsync(page, "/Channel 0, groups: [1-9][0-9,]* groups now/.test("
            + "document.querySelector('#lanes svg').getAttribute('aria-label'))");
        for (int i = 0; i < 4; i++)
        {
            await page.Keyboard.PressAsync("Tab");
            Assert.Equal("SUMMARY", await page.EvaluateExpressionAsync<string>("document.activeElement.tagName"));
            await page.Keyboard.PressAsync("Enter");
            if (i < 2)
            {
                await page.Keyboard.PressAsync("Tab"); // the table scrolls by the arrow keys
                Assert.Equal("region", await page.EvaluateExpressionAsync<string>(
                    "document.activeElement.getAttribute('role')"));
            }
        }

        Assert.Contains("hand_overs", await TextAsync(page, "#counter-rows"), StringComparison.Ordinal);
        Assert.Contains("HandOverAfter", await TextAsync(page, "#options"), StringComparison.Ordinal);
        Assert.Contains("ring", await TextAsync(page, "#features"), StringComparison.Ordinal);
        await AxeAsync(page);
        await ShootAsync(page, "details");
        Assert.Empty(problems);
    }

    [BrowserFact]
    public async Task Fallback_IsSaidWithItsReason()
    {
        await using PageHost host = await PageHost.StartAsync(
            transport: options => options.DeniedFor = "no ring <here>");
        await using IPage page = await OpenAsync(host, 1024, 600, "dark");
        List<string> problems = Watch(page, host);
        await WaitAsync(page, "document.querySelector('#verdict').className === 'warn'");
        Assert.Equal("The stock Sockets transport serves", await TextAsync(page, "#verdict-title"));
        Assert.Equal("no ring <here>", await TextAsync(page, "#verdict-text"));
        Assert.Equal("fallback: Sockets", await TextAsync(page, "#serves"));
        await AxeAsync(page);
        await ShootAsync(page, "fallback");
        Assert.Empty(problems);
    }

    private async Task<IPage> OpenAsync(PageHost host, int width, int height, string scheme)
    {
        IPage page = await browser.NewPageAsync();
        page.DefaultTimeout = 60_000;
        await page.SetViewportAsync(new ViewPortOptions { Width = width, Height = height });
        await ShowInAsync(page, scheme);
        IResponse response = await page.GoToAsync(host.Page.ToString(), WaitUntilNavigation.DOMContentLoaded);
        Assert.Equal(System.Net.HttpStatusCode.OK, response.Status);
        return page;
    }

    /// <summary>What must not be: an error, a refusal by the policy, a request to elsewhere.</summary>
    private static List<string> Watch(IPage page, PageHost host)
    {
        List<string> problems = [];
        page.Console += (_, message) =>
        {
            if (message.Message.Type is ConsoleType.Error or ConsoleType.Warning)
            {
                problems.Add(message.Message.Text);
            }
        };
        page.PageError += (_, error) => problems.Add(error.Message);
        page.Request += (_, request) =>
        {
            if (!request.Request.Url.StartsWith(host.Address.ToString(), StringComparison.Ordinal) &&
                !request.Request.Url.StartsWith("data:", StringComparison.Ordinal))
            {
                problems.Add(request.Request.Url);
            }
        };
        return problems;
    }

    private static Task ShowInAsync(IPage page, string scheme) => page.EmulateMediaFeaturesAsync(
        [new() { MediaFeature = MediaFeature.PrefersColorScheme, Value = scheme }]);

    private static async Task WaitAsync(IPage page, string condition)
    {
        try
        {
            await page.WaitForFunctionAsync($"() => {condition}");
        }
        catch (WaitTaskTimeoutException)
        {
            Assert.Fail($"{condition}\n{await page.EvaluateExpressionAsync<string>("document.body.innerText")}");
        }
    }

    private static Task<string> TextAsync(IPage page, string selector) =>
        page.EvaluateExpressionAsync<string>($"document.querySelector('{selector}').textContent");

    private static Task<string> FocusAsync(IPage page) =>
        page.EvaluateExpressionAsync<string>("document.activeElement.id");

    private static Task ShootAsync(IPage page, string name) =>
        page.ScreenshotAsync(Path.Combine(Folder, $"{name}.png"), new ScreenshotOptions { FullPage = true });

    private static async Task AxeAsync(IPage page)
    {
        await page.EvaluateExpressionAsync(s_axe);
        string[] violations = await page.EvaluateFunctionAsync<string[]>(
            """
            async () => (await axe.run(document, { resultTypes: ["violations"] })).violations
              .map(rule => rule.id + ": " + rule.help + " " + rule.nodes.map(node => node.html).join(" "))
            """);
        Assert.Empty(violations);
    }
}
