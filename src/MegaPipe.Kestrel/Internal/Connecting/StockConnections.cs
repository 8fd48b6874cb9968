// Outgoing connections where io_uring cannot be used: the runtime's sockets, and the stock transport's pipes over them.
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Internal.Listening;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Connecting;

internal sealed class StockConnections(
    MegaPipeTransportOptions options, ILogger logger, IMemoryPoolFactory<byte>? pools, string reason) : IDisposable
{
    private readonly SocketConnectionContextFactory _contexts =
        StockTransport.CreateContextFactory(options, logger, pools, reason);

    public async ValueTask<ConnectionContext> ConnectAsync(
        EndPoint target, TimeSpan timeout, CancellationToken cancellationToken) =>
        _contexts.Create(await ConnectSocketAsync(target, timeout, cancellationToken).ConfigureAwait(false));

    public async ValueTask<Stream> ConnectStreamAsync(
        EndPoint target, TimeSpan timeout, CancellationToken cancellationToken) => new NetworkStream(
        await ConnectSocketAsync(target, timeout, cancellationToken).ConfigureAwait(false), ownsSocket: true);

    public void Dispose() => _contexts.Dispose();

    private async Task<Socket> ConnectSocketAsync(
        EndPoint target, TimeSpan timeout, CancellationToken cancellationToken)
    {
        Socket socket = target switch
        {
            UnixDomainSocketEndPoint => new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified),
            IPEndPoint ip => new(ip.AddressFamily, SocketType.Stream, ProtocolType.Tcp),
            DnsEndPoint => new(SocketType.Stream, ProtocolType.Tcp),
            _ => throw new NotSupportedException($"Endpoints of {target.GetType()} cannot be connected to."),
        };
        using CancellationTokenSource timed = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        timed.CancelAfter(timeout);
        try
        {
            if (target is not UnixDomainSocketEndPoint)
            {
                socket.NoDelay = options.NoDelay;
                ListenSockets.SetKeepAlive(socket, options);
            }

            await socket.ConnectAsync(target, timed.Token).ConfigureAwait(false);
            return socket;
        }
        catch (Exception error)
        {
            socket.Dispose();
            if (error is not OperationCanceledException)
            {
                throw;
            }

            cancellationToken.ThrowIfCancellationRequested();
            throw new SocketException((int)SocketError.TimedOut, $"No answer in {timeout} [{target}]");
        }
    }
}
