// /ws: sends every message back, and says goodbye when the host stops.
using System.Net.WebSockets;

namespace WebApp;

internal static class WebSocketRoute
{
    private const int BufferBytes = 4_096;

    public static void Map(IEndpointRouteBuilder routes) => routes.Map("/ws", Echo);

    private static async Task Echo(HttpContext context)
    {
        if (!context.WebSockets.IsWebSocketRequest)
        {
            context.Response.StatusCode = StatusCodes.Status400BadRequest;
            context.Response.ContentType = "text/plain";
            await context.Response.WriteAsync("/ws: speak WebSocket here.\n");
            return;
        }

        using WebSocket socket = await context.WebSockets.AcceptWebSocketAsync();
        CancellationToken stopping =
            context.RequestServices.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping;
        using CancellationTokenRegistration goodbye = stopping.Register(() => _ = SayGoodbyeAsync(socket));
        byte[] buffer = new byte[BufferBytes];
        try
        {
            while (true)
            {
                ValueWebSocketReceiveResult received =
                    await socket.ReceiveAsync(buffer.AsMemory(), context.RequestAborted);
                if (received.MessageType == WebSocketMessageType.Close)
                {
                    break;
                }

                await socket.SendAsync(
                    buffer.AsMemory(0, received.Count), received.MessageType, received.EndOfMessage,
                    context.RequestAborted);
            }

            if (socket.State == WebSocketState.CloseReceived)
            {
                await socket.CloseOutputAsync(
                    socket.CloseStatus ?? WebSocketCloseStatus.NormalClosure, socket.CloseStatusDescription,
                    context.RequestAborted);
            }
        }
        catch (Exception exception) when (exception is WebSocketException or OperationCanceledException)
        {
            // The peer went away without a closing handshake, or the host ran out of patience.
        }
    }

    /// <summary>The peer answers with its own close, which ends the loop above.</summary>
    private static async Task SayGoodbyeAsync(WebSocket socket)
    {
        try
        {
            await socket.CloseOutputAsync(
                WebSocketCloseStatus.EndpointUnavailable, "The server is stopping.", CancellationToken.None);
        }
        catch (Exception exception) when (exception is WebSocketException or ObjectDisposedException
            or InvalidOperationException)
        {
            // Closed meanwhile, or a message is being sent at this moment; the host's time limit ends it.
        }
    }
}
