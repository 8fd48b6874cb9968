// Unix sockets: paths, abstract names, the file's life, endpoints.
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Transport;

public abstract class UnixSocketContract(TransportKind kind) : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mp-unix-");

    private string SocketPath => Path.Combine(_directory.FullName, "s.sock");

    public void Dispose() => _directory.Delete(recursive: true);

    [Fact]
    public async Task Bind_Path_ServesAndFileIsRemovedOnClose()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath));
        Assert.Equal(SocketPath, Assert.IsType<UnixDomainSocketEndPoint>(listener.EndPoint).ToString());
        Assert.True(File.Exists(SocketPath));
        await AssertEchoes(await harness.ConnectAsync(listener));

        await harness.StopAsync();
        Assert.False(File.Exists(SocketPath));
    }

    [Fact]
    public async Task Unbind_Path_FileIsRemovedAtOnce()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath));
        await listener.UnbindAsync().InTime();
        Assert.False(File.Exists(SocketPath));
        Assert.Null(await listener.AcceptAsync().InTime());
    }

    [Fact]
    public async Task Bind_StaleFile_AddressInUseExceptionAndFileIsLeft()
    {
        using (Socket dead = new(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
        {
            dead.Bind(new UnixDomainSocketEndPoint(SocketPath));
            // Left behind as by a killed process: Socket removes the file only when it is disposed.
            File.Move(SocketPath, SocketPath + ".kept");
        }

        File.Move(SocketPath + ".kept", SocketPath);
        await using TransportHarness harness = TransportHarness.Create(kind);
        await Assert.ThrowsAsync<AddressInUseException>(
            () => harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath)));
        Assert.True(File.Exists(SocketPath));
    }

    [Fact]
    public async Task Bind_OrdinaryFile_AddressInUseExceptionAndFileIsLeft()
    {
        await File.WriteAllTextAsync(SocketPath, "content");
        await using TransportHarness harness = TransportHarness.Create(kind);
        await Assert.ThrowsAsync<AddressInUseException>(
            () => harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath)));
        Assert.Equal("content", await File.ReadAllTextAsync(SocketPath));
    }

    [Fact]
    public async Task Bind_PathInUseByAnotherFactory_AddressInUseExceptionAndFirstServesOn()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath));
        await using (TransportHarness other = TransportHarness.Create(kind))
        {
            await Assert.ThrowsAsync<AddressInUseException>(
                () => other.BindAsync(new UnixDomainSocketEndPoint(SocketPath)));
        }

        await AssertEchoes(await harness.ConnectAsync(listener));
    }

    [Fact]
    public async Task Bind_PathAgainAfterStop_Serves()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        await harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath));
        await harness.StopAsync();
        IConnectionListener listener = await harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath));
        await AssertEchoes(await harness.ConnectAsync(listener));
    }

    [Fact]
    public async Task Bind_AbstractName_ServesWithoutAFile()
    {
        string name = "\0mp-" + Guid.NewGuid().ToString("N");
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new UnixDomainSocketEndPoint(name));
        Assert.Equal(new UnixDomainSocketEndPoint(name).ToString(), listener.EndPoint.ToString());
        await AssertEchoes(await harness.ConnectAsync(listener, new UnixDomainSocketEndPoint(name)));
        Assert.Empty(_directory.GetFiles());
    }

    [Fact]
    public async Task EndPoints_UnixConnection_LocalIsThePathAndRemoteIsUnnamed()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath));
        ConnectedPair pair = await harness.ConnectAsync(listener);
        Assert.Equal(SocketPath, Assert.IsType<UnixDomainSocketEndPoint>(pair.Server.LocalEndPoint).ToString());
        Assert.Equal("", Assert.IsType<UnixDomainSocketEndPoint>(pair.Server.RemoteEndPoint).ToString());
    }

    [Fact]
    public async Task RemoteEndPoint_ClientBoundToAPath_IsThatPath()
    {
        string clientPath = Path.Combine(_directory.FullName, "c.sock");
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath));
        ConnectedPair pair = await harness.ConnectAsync(
            listener, beforeConnect: client => client.Bind(new UnixDomainSocketEndPoint(clientPath)));
        Assert.Equal(clientPath, pair.Server.RemoteEndPoint!.ToString());
    }

    [Fact]
    public async Task Close_UnixConnection_AllBytesThenEnd()
    {
        byte[] bytes = Client.Pattern(1_000_003);
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath));
        ConnectedPair pair = await harness.ConnectAsync(listener);
        Task<byte[]> received = pair.Client.ReceiveToEndAsync();
        await pair.Server.Transport.Output.WriteAsync(bytes).InTime();
        await pair.Server.Transport.Output.CompleteAsync();
        Assert.Equal(bytes, await received.InTime());
    }

    [Fact]
    public async Task Abort_UnixConnection_ClientSeesTheEnd()
    {
        await using TransportHarness harness = TransportHarness.Create(kind);
        IConnectionListener listener = await harness.BindAsync(new UnixDomainSocketEndPoint(SocketPath));
        ConnectedPair pair = await harness.ConnectAsync(listener);
        pair.Server.Abort(new ConnectionAbortedException("because"));
        // Unix sockets know no RST on close: unread bytes apart, the peer sees the end of the stream.
        await pair.Client.ReceiveEndAsync().InTime();
        Exception? fault = await pair.Server.Transport.Input.ReadFaultAsync();
        Assert.Equal("because", Assert.IsType<ConnectionAbortedException>(fault).Message);
    }

    private static async Task AssertEchoes(ConnectedPair pair)
    {
        await pair.Client.SendAllAsync("ping");
        Assert.Equal("ping"u8.ToArray(), await pair.Server.Transport.Input.ReadExactlyAsync(4));
        await pair.Server.Transport.Output.WriteAsync("pong"u8.ToArray()).InTime();
        Assert.Equal("pong"u8.ToArray(), await pair.Client.ReceiveExactlyAsync(4));
    }
}
