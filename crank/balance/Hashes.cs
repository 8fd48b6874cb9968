// Which channel a connection belongs to at first.
using MegaPipe.Kestrel;
using MegaPipe.Kestrel.Internal.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http;

namespace MegaPipe.Balance;

internal static class Hashes
{
    public static int First(HttpContext context, MegaPipeSteering steering) =>
        ((MegaPipeConnection)context.Features.Get<IConnectionEndPointFeature>()!).Channel.Index;
}
