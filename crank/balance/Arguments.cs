// What was typed behind the command.
using System.Globalization;

namespace MegaPipe.Balance;

internal sealed class Arguments
{
    public Arguments(string[] args, string cores)
    {
        Cores = Numbers(cores);
        if (args.Length % 2 == 0)
        {
            throw new FormatException();
        }

        for (int i = 1; i < args.Length; i += 2)
        {
            switch (args[i])
            {
                case "--cores":
                    Cores = Numbers(args[i + 1]);
                    break;
                case "--seed":
                    Seed = int.Parse(args[i + 1], CultureInfo.InvariantCulture);
                    break;
                case "--output":
                    Output = args[i + 1];
                    break;
                default:
                    throw new FormatException();
            }
        }
    }

    public int[] Cores { get; }

    public int Seed { get; } = 1;

    public string? Output { get; }

    /// <summary>To the file, or to the standard output.</summary>
    public void Write(IEnumerable<string> lines)
    {
        string text = string.Concat(lines.Select(line => line + "\n"));
        if (Output is null)
        {
            Console.Write(text);
        }
        else
        {
            File.WriteAllText(Output, text);
        }
    }

    private static int[] Numbers(string list) =>
        [.. list.Split(',').Select(number => int.Parse(number, CultureInfo.InvariantCulture))];
}
