// The listener of a transport that is neither stock's nor MegaPipe's.
using System.Net;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Support;

/// <summary>Accepts nobody until it is unbound.</summary>
internal sealed class OtherListener(EndPoint endPoint) : IConnectionListener
{
    private readonly TaskCompletionSource _unbound = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public EndPoint EndPoint => endPoint;

    public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
    {
        await _unbound.Task;
        return null;
    }

    public ValueTask UnbindAsync(CancellationToken cancellationToken = default)
    {
        _unbound.TrySetResult();
        return default;
    }

    public ValueTask DisposeAsync() => UnbindAsync();
}
