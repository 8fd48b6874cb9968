// MegaPipe.Balance: what balancing does, in virtual time and on this machine.
using System.Globalization;
using MegaPipe.Balance;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
const string usage = """
    usage: MegaPipe.Balance simulate [--cores 4,8] [--seed 1] [--output FILE]     each way to steer, over patterns
           MegaPipe.Balance sweep    [--cores 16] [--seed 1] [--output FILE]      each constant of the policy, varied
           MegaPipe.Balance longlived [--cores 4,8] [--seed 1] [--output FILE]    connections that stay or move
           MegaPipe.Balance measure  [equal|skewed|skewed-cpu|longlived|hung|all] [ROUNDS] [OPTION=VALUE ...]
                                                                         the transport, on this machine
    """;
try
{
    return args.FirstOrDefault() switch
    {
        "simulate" => Simulations.Run(new Arguments(args, "4,8,16,32,64,128")),
        "longlived" => Simulations.RunLongLived(new Arguments(args, "4,8,16,32,64,128")),
        "sweep" => Simulations.Sweep(new Arguments(args, "16")),
        "measure" => await Measurement.RunAsync(args),
        "serve" => await Server.RunAsync(args),
        _ => throw new FormatException(),
    };
}
catch (FormatException)
{
    Console.Error.WriteLine(usage);
    return 2;
}
