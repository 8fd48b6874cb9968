// The count of fds that leak checks rely on.
using System.Net.Sockets;

namespace MegaPipe.Native.Tests.Support;

public sealed class OpenFdsTests
{
    [Fact]
    public void Count_FileOpened_StaysTheSame()
    {
        int before = OpenFds.Count();
        using FileStream file = File.OpenRead(typeof(OpenFdsTests).Assembly.Location);

        Assert.Equal(before, OpenFds.Count());
    }

    [Fact]
    public void Count_SocketAndRingOpened_CountsBoth()
    {
        int before = OpenFds.Count();
        using Socket socket = new(SocketType.Stream, ProtocolType.Tcp);
        using Channel channel = Channel.Create(new ChannelConfig());

        Assert.True(OpenFds.Count() >= before + 2, OpenFds.Describe());
    }
}
