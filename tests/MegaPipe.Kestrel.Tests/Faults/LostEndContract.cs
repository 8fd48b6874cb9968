// The peer's end right behind its data, thousands of times: no connection stays behind, whatever woke first.
using System.Net;
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Connections;

namespace MegaPipe.Kestrel.Tests.Faults;

public abstract class LostEndContract(TransportKind kind)
{
    private const int Connections = 2400;
    private const int Clients = 8;
    private const int HalfABody = 1000;

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    public async Task EndRightBehindHalfABody_ManyClients_NoConnectionStays(bool unix, bool reset)
    {
        string path = Path.Combine(Path.GetTempPath(), $"mp-{Guid.NewGuid():N}.sock");
        int open = 0;
        int begun = 0;
        await using HostHarness host = await HostHarness.StartAsync(
            kind,
            async context =>
            {
                byte[] buffer = new byte[HalfABody];
                while (await context.Request.Body.ReadAsync(buffer) > 0)
                {
                }
            },
            setup =>
            {
                setup.QuietLogs = true;
                setup.Kestrel = options =>
                {
                    // Nothing but the end itself may end a connection.
                    options.Limits.MinRequestBodyDataRate = null;
                    options.Limits.RequestHeadersTimeout = TimeSpan.FromHours(1);
                    options.Limits.KeepAliveTimeout = TimeSpan.FromHours(1);
                };
                void Count(Microsoft.AspNetCore.Server.Kestrel.Core.ListenOptions listen) =>
                    listen.Use(next => async connection =>
                    {
                        Interlocked.Increment(ref open);
                        Interlocked.Increment(ref begun);
                        try
                        {
                            await next(connection);
                        }
                        finally
                        {
                            Interlocked.Decrement(ref open);
                        }
                    });
                if (unix)
                {
                    setup.Endpoints = options => options.ListenUnixSocket(path, Count);
                }
                else
                {
                    setup.Listen = Count;
                }
            });
        EndPoint target = unix ? new UnixDomainSocketEndPoint(path) : host.EndPoint;
        byte[] request = Encoding.ASCII.GetBytes(
            $"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {2 * HalfABody}\r\n\r\n{new string('x', HalfABody)}");
        Thread[] clients = [.. Enumerable.Range(0, Clients).Select(_ => new Thread(() =>
        {
            for (int i = 0; i < Connections / Clients; i++)
            {
                using Socket client = Client.Create(target);
                client.Connect(target);
                client.Send(request);
                if (reset)
                {
                    client.Reset();
                }
            }
        }))];
        Array.ForEach(clients, client => client.Start());
        await Task.Run(() => Array.ForEach(clients, client => client.Join())).InTime();
        // A reset may also take a connection away before anybody has accepted it.
        await Eventually.True(
            () => Volatile.Read(ref open) == 0,
            () => $"{open} of {begun} connections stay",
            "every connection has ended");
    }
}
