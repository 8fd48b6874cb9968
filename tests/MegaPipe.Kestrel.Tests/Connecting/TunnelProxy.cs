// An HTTP proxy that knows CONNECT.
using System.Net;
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Connecting;

internal sealed class TunnelProxy : IDisposable
{
    private readonly Socket _listener = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
    private int _tunnels;

    public TunnelProxy()
    {
        _listener.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        _listener.Listen();
        _ = AcceptAsync();
    }

    public int Port => ((IPEndPoint)_listener.LocalEndPoint!).Port;

    public int Tunnels => Volatile.Read(ref _tunnels);

    public void Dispose() => _listener.Dispose();

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
            {
                _ = TunnelAsync(await _listener.AcceptAsync());
            }
        }
        catch (Exception error) when (error is SocketException or ObjectDisposedException)
        {
        }
    }

    private async Task TunnelAsync(Socket client)
    {
        using Socket near = client;
        string head = await near.ReceiveUntilAsync("\r\n\r\n");
        string target = head.Split(' ')[1];
        IPEndPoint backend = IPEndPoint.Parse(target);
        using Socket far = Client.Create(backend);
        await far.ConnectAsync(backend);
        Interlocked.Increment(ref _tunnels);
        await near.SendAllAsync(Encoding.ASCII.GetBytes("HTTP/1.1 200 OK\r\n\r\n"));
        await Task.WhenAll(CopyAsync(near, far), CopyAsync(far, near));
    }

    private static async Task CopyAsync(Socket from, Socket to)
    {
        byte[] buffer = new byte[16 * 1024];
        try
        {
            while (await from.ReceiveAsync(buffer) is > 0 and { } count)
            {
                await to.SendAllAsync(buffer.AsMemory(0, count));
            }

            to.Shutdown(SocketShutdown.Send);
        }
        catch (SocketException)
        {
            to.Dispose();
        }
    }
}
