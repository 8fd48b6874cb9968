// io_uring_enter is denied to a process that serves: it ends at once and says why. Without the ring nobody can be
// answered, and a process that hangs is restarted by nobody.
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using MegaPipe.Kestrel.Tests.Configuration;
using MegaPipe.Kestrel.Tests.Support;

namespace MegaPipe.Kestrel.Tests.Faults;

[Trait("Transport", "MegaPipe"), Trait("Area", "Denied")]
public sealed class LateDenialTests
{
    [Theory]
    [InlineData(TransportKind.MegaPipe, SeccompFilter.Eperm)]
    [InlineData(TransportKind.MegaPipeInline, SeccompFilter.Enosys)]
    public async Task Enter_DeniedAfterTheStart_ProcessEndsAndNamesCauseAndRemedy(TransportKind kind, int errno)
    {
        await using ChildProcess child = await ChildProcess.StartAsync(LateDenial.Command, $"{kind}", $"{errno}");
        using Socket client = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            await client.ConnectAsync(
                new IPEndPoint(IPAddress.Loopback, int.Parse(child.Answer, CultureInfo.InvariantCulture))).InTime();
            await client.SendAllAsync("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        catch (SocketException)
        {
            // It has ended by then.
        }

        await child.ReadToEndAsync(InTimeExtensions.Limit);
        string errors = await child.EndAsync();
        Assert.NotEqual(0, child.ExitCode);
        Assert.Contains("io_uring_enter is denied now", errors, StringComparison.Ordinal);
        Assert.Contains("seccomp", errors, StringComparison.Ordinal);
        Assert.Contains("Allow io_uring_setup", errors, StringComparison.Ordinal);
    }
}
