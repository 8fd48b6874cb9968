// MegaPipe.Layers binding|standard-pipes|own-pipes PORT: serves until it is ended.
using System.Globalization;
using System.Net;
using MegaPipe.Layers;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.DependencyInjection;

if (args.Length != 2 || !int.TryParse(args[1], CultureInfo.InvariantCulture, out int port))
{
    Console.Error.WriteLine("usage: MegaPipe.Layers binding|standard-pipes|own-pipes PORT");
    return 2;
}

switch (args[0])
{
    case "binding":
    case "standard-pipes":
        new ChannelServer(port, standardPipes: args[0] == "standard-pipes").Run();
        return 0;
    case "own-pipes":
        return await RunTransportAsync(port);
    default:
        Console.Error.WriteLine($"{args[0]}: not a layer");
        return 2;
}

// The transport as Kestrel uses it, with the responder in Kestrel's place.
static async Task<int> RunTransportAsync(int port)
{
    ServiceCollection services = new();
    services.AddLogging();
    services.AddMegaPipe(options => options.Fallback = MegaPipe.Kestrel.MegaPipeFallback.Fail);
    await using ServiceProvider provider = services.BuildServiceProvider();
    IConnectionListenerFactory factory = provider.GetRequiredService<IConnectionListenerFactory>();
    await using IConnectionListener listener = await factory.BindAsync(new IPEndPoint(IPAddress.Any, port));
    Console.WriteLine("Listening.");
    while (await listener.AcceptAsync() is { } connection)
    {
        _ = ServeAsync(connection);
    }

    return 0;

    static async Task ServeAsync(ConnectionContext connection)
    {
        await Task.Yield(); // as Kestrel does, so that accepting goes on
        await Responder.ServeAsync(connection.Transport);
        await connection.DisposeAsync();
    }
}
