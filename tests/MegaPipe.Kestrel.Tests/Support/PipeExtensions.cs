// Reading and writing pipes in tests, with the contract's plainest calls only.
using System.Buffers;
using System.IO.Pipelines;

namespace MegaPipe.Kestrel.Tests.Support;

internal static class PipeExtensions
{
    /// <summary>Reads until exactly that many bytes were consumed.</summary>
    public static async Task<byte[]> ReadExactlyAsync(this PipeReader reader, int count)
    {
        ReadResult result = await reader.WaitForAsync(count);
        ReadOnlySequence<byte> slice = result.Buffer.Slice(0, count);
        byte[] bytes = slice.ToArray();
        reader.AdvanceTo(slice.End);
        return bytes;
    }

    /// <summary>Reads until at least that many bytes are buffered; the caller must advance.</summary>
    public static async Task<ReadResult> WaitForAsync(this PipeReader reader, long count)
    {
        while (true)
        {
            ReadResult result = await reader.ReadAsync().InTime();
            if (result.Buffer.Length >= count)
            {
                return result;
            }

            Assert.False(result.IsCompleted, $"Completed after {result.Buffer.Length} of {count} bytes");
            reader.AdvanceTo(result.Buffer.Start, result.Buffer.End);
        }
    }

    public static async Task<byte[]> ReadToEndAsync(this PipeReader reader)
    {
        using MemoryStream all = new();
        while (true)
        {
            ReadResult result = await reader.ReadAsync().InTime();
            foreach (ReadOnlyMemory<byte> segment in result.Buffer)
            {
                all.Write(segment.Span);
            }

            reader.AdvanceTo(result.Buffer.End);
            if (result.IsCompleted)
            {
                return all.ToArray();
            }
        }
    }

    /// <summary>Reads and discards until completion, and returns what the pipe was completed with.</summary>
    public static async Task<Exception?> ReadFaultAsync(this PipeReader reader)
    {
        try
        {
            await reader.ReadToEndAsync();
            return null;
        }
        catch (Exception e) when (e is not Xunit.Sdk.XunitException)
        {
            return e;
        }
    }
}
