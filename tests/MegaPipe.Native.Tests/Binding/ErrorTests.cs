// Negative errno values as SocketError and exceptions.
using System.Net.Sockets;
using Tmds.Linux;

namespace MegaPipe.Native.Tests.Binding;

public sealed class ErrorTests
{
    public static TheoryData<int, SocketError> Pairs => new()
    {
        { LibC.ECONNRESET, SocketError.ConnectionReset },
        { LibC.EPIPE, SocketError.Shutdown },
        { LibC.ETIMEDOUT, SocketError.TimedOut },
        { LibC.ECONNREFUSED, SocketError.ConnectionRefused },
        { LibC.ECONNABORTED, SocketError.ConnectionAborted },
        { LibC.ECANCELED, SocketError.OperationAborted },
        { LibC.EMFILE, SocketError.TooManyOpenSockets },
        { LibC.ENFILE, SocketError.TooManyOpenSockets },
        { LibC.EADDRINUSE, SocketError.AddressAlreadyInUse },
        { LibC.EACCES, SocketError.AccessDenied },
        { LibC.ENOTCONN, SocketError.NotConnected },
        { LibC.EIO, SocketError.SocketError },
        { 5000, SocketError.SocketError },
        { int.MaxValue, SocketError.SocketError },
    };

    [Theory]
    [MemberData(nameof(Pairs))]
    public void ToSocketError_OfAnErrno_IsWhatTheRuntimesSocketsGive(int number, SocketError expected)
    {
        Assert.Equal(expected, ChannelError.ToSocketError(-number));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(int.MaxValue)]
    public void ToSocketError_OfNoError_IsSuccess(int result)
    {
        Assert.Equal(SocketError.Success, ChannelError.ToSocketError(result));
    }

    [Fact]
    public void ToException_OfAnErrno_HasCodeOperationAndText()
    {
        SocketException exception =
            Assert.IsType<SocketException>(ChannelError.ToException(ChannelError.ConnectionReset, "Reading"));

        Assert.Equal(SocketError.ConnectionReset, exception.SocketErrorCode);
        Assert.StartsWith("Reading: ", exception.Message, StringComparison.Ordinal);
        Assert.Contains("reset", exception.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(ChannelError.TooOld)]
    [InlineData(ChannelError.Denied)]
    public void ToException_WhereTheKernelRefuses_IsNotSupported(int error)
    {
        Exception exception = ChannelError.ToException(error, "Creating a channel");

        Assert.IsType<PlatformNotSupportedException>(exception);
        Assert.Contains("io_uring", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ToException_WhereLockedMemoryIsUsedUp_NamesTheLimit()
    {
        SocketException exception = Assert.IsType<SocketException>(
            ChannelError.ToException(ChannelError.LockedMemory, "Creating a channel"));

        Assert.Equal(SocketError.NoBufferSpaceAvailable, exception.SocketErrorCode);
        Assert.Contains("RLIMIT_MEMLOCK", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void ThrowIfNegative_OfAResult_ReturnsIt()
    {
        Assert.Equal(7, ChannelError.ThrowIfNegative(7, "Writing"));
        Assert.Throws<SocketException>(() => ChannelError.ThrowIfNegative(ChannelError.BrokenPipe, "Writing"));
    }
}
