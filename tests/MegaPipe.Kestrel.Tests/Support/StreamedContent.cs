// A request body that can be written while the response is read.
using System.Net;
using System.Net.Http.Headers;

namespace MegaPipe.Kestrel.Tests.Support;

/// <summary>A request body whose stream the test writes to while the response is being read.</summary>
internal sealed class StreamedContent : HttpContent
{
    private readonly TaskCompletionSource<Stream> _stream = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _finished = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public StreamedContent() => Headers.ContentType = new MediaTypeHeaderValue("application/octet-stream");

    public Task<Stream> Stream => _stream.Task;

    public void Finish() => _finished.SetResult();

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
    {
        // HttpClient sends the headers with the first flush.
        await stream.FlushAsync();
        _stream.SetResult(stream);
        await _finished.Task;
    }

    protected override bool TryComputeLength(out long length)
    {
        length = -1;
        return false;
    }
}
