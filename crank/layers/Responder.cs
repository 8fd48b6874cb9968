// The application of every layer: answers each request with the same bytes. It knows of HTTP only where a request ends
// (an empty line), and expects whole requests, as generators send them.
using System.Buffers;
using System.IO.Pipelines;

namespace MegaPipe.Layers;

internal static class Responder
{
    public static ReadOnlySpan<byte> Answer =>
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: Sun, 22 Nov 2026 23:40:09 GMT\r\n"u8 +
        "Content-Length: 13\r\n\r\nHello, World!"u8;

    public static int CountRequests(ReadOnlySpan<byte> received) => received.Count("\r\n\r\n"u8);

    /// <summary>Serves one connection until the peer ends it.</summary>
    public static async Task ServeAsync(IDuplexPipe transport)
    {
        try
        {
            while (true)
            {
                ReadResult read = await transport.Input.ReadAsync();
                if (read.Buffer.IsEmpty && read.IsCompleted)
                {
                    break;
                }

                foreach (ReadOnlyMemory<byte> part in read.Buffer)
                {
                    for (int requests = CountRequests(part.Span); requests > 0; requests--)
                    {
                        transport.Output.Write(Answer);
                    }
                }

                transport.Input.AdvanceTo(read.Buffer.End);
                await transport.Output.FlushAsync();
            }
        }
        catch (IOException)
        {
            // The peer has reset the connection.
        }

        await transport.Input.CompleteAsync();
        await transport.Output.CompleteAsync();
    }
}
