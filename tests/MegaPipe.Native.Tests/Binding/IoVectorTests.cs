// The native array of a gathered write.
namespace MegaPipe.Native.Tests.Binding;

public sealed class IoVectorTests
{
    [Fact]
    public void TryAdd_PastTheCapacity_GrowsUpToTheKernelsLimit()
    {
        using IoVectorArray vectors = new(2);
        for (int i = 0; i < IoVectorArray.MaxCount; i++)
        {
            Assert.True(vectors.TryAdd(i + 1, i));
        }

        Assert.False(vectors.TryAdd(1, 1));
        Assert.Equal(IoVectorArray.MaxCount, vectors.Count);
        Assert.Equal(IoVectorArray.MaxCount * (IoVectorArray.MaxCount - 1) / 2, vectors.TotalBytes);
        for (int i = 0; i < IoVectorArray.MaxCount; i++)
        {
            Assert.Equal(i + 1, vectors.Vectors[i].Address);
            Assert.Equal((nuint)i, vectors.Vectors[i].Bytes);
        }
    }

    [Fact]
    public void Clear_OfAUsedArray_KeepsTheCapacity()
    {
        using IoVectorArray vectors = new(4);
        vectors.TryAdd(1, 10);

        vectors.Clear();

        Assert.Equal(0, vectors.Count);
        Assert.Equal(0, vectors.TotalBytes);
        Assert.Equal(4, vectors.Capacity);
    }

    [Fact]
    public void TryAdd_AfterDispose_Throws()
    {
        IoVectorArray vectors = new(4);
        vectors.Dispose();
        vectors.Dispose();

        Assert.Throws<ObjectDisposedException>(() => vectors.TryAdd(1, 1));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    [InlineData(IoVectorArray.MaxCount + 1)]
    public void Constructor_OutOfRange_Throws(int capacity)
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => new IoVectorArray(capacity));
    }
}
