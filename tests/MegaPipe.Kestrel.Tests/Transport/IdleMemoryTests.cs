// What a connection keeps while it waits for its next request: every byte counts ten thousand times.
using System.Buffers;
using System.IO.Pipelines;
using System.Net;
using System.Reflection;
using System.Runtime.CompilerServices;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Connections;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Tests.Pipes.Differential;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace MegaPipe.Kestrel.Tests.Transport;

[Trait("Transport", "MegaPipe"), Trait("Area", "IdleMemory")]
public sealed class IdleMemoryTests
{
    private const BindingFlags Fields =
        BindingFlags.DeclaredOnly | BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic;

    /// <summary>Shared with other connections, or the runtime's and not looked into.</summary>
    private static readonly Type[] s_others =
        [typeof(TransportChannel), typeof(ChannelScheduling), typeof(EndpointContext), typeof(ConnectionCounts),
        typeof(Delegate)];

    [Fact]
    public async Task Connection_ThatHasAnsweredAndWaits_KeepsTheseObjectsOnly()
    {
        await using TransportHarness harness = TransportHarness.Create(TransportKind.MegaPipe);
        ConnectedPair pair = await harness.ConnectAsync();
        IDuplexPipe transport = pair.Server.Transport;
        for (int i = 0; i < 3; i++)
        {
            await pair.Client.SendAllAsync(new byte[100]);
            ReadResult read = await transport.Input.WaitForAsync(100);
            await transport.Output.WriteAsync(read.Buffer.ToArray()).InTime();
            transport.Input.AdvanceTo(read.Buffer.End);
            await pair.Client.ReceiveExactlyAsync(100);
        }

        ValueTask<ReadResult> next = transport.Input.ReadAsync();
        string expected = string.Join(", ", "CancellationTokenSource", "CoalescingPipeWriter", "ConnectionFeatures",
            "ContinuationCost", "LeasePipeReader", "MegaPipeConnection", "PendingRead");
        await Eventually.True(() => Kept(pair.Server) == expected, () => Kept(pair.Server));

        await pair.Client.SendAllAsync(new byte[1]);
        transport.Input.AdvanceTo((await next.AsTask().InTime()).Buffer.End);
    }

    /// <summary>Exact, whatever other threads do: bytes that this one allocates.</summary>
    [Fact]
    public void Connection_New_TakesSoManyBytes()
    {
        using StepChannel channel = new(buffers: 8, bufferBytes: 256, MegaPipeScheduling.Inline);
        EndpointContext endpoint = new(
            new IPEndPoint(IPAddress.Loopback, 0), new MegaPipeTransportOptions(), NullLogger.Instance,
            new TrackingMemoryPoolFactory().Create());
        Create(channel, endpoint);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Create(channel, endpoint);
        long bytes = GC.GetAllocatedBytesForCurrentThread() - before;

        Assert.InRange(bytes, 1, 840); // 832, and 1,120 when it made everything that it may need
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static void Create(StepChannel channel, EndpointContext endpoint) =>
        GC.KeepAlive(new MegaPipeConnection(channel.Carried, endpoint, 0, null, null));

    /// <summary>The types of what only this connection refers to, by name.</summary>
    private static string Kept(object connection)
    {
        Dictionary<object, string> seen = new(ReferenceEqualityComparer.Instance);
        Look(connection);
        return string.Join(", ", seen.Values.Order(StringComparer.Ordinal));

        void Look(object? found)
        {
            if (found is null or string || seen.ContainsKey(found) ||
                s_others.Any(other => other.IsInstanceOfType(found)))
            {
                return;
            }

            Type type = found.GetType();
            bool ours = type.Assembly == typeof(MegaPipeConnection).Assembly;
            if (ours || found is Lock or Task or TaskCompletionSource or CancellationTokenSource)
            {
                seen.Add(found, type.Name);
            }

            if (ours)
            {
                LookInto(found, type);
            }
        }

        void LookInto(object holder, Type? type)
        {
            for (; type is not null && type != typeof(object); type = type.BaseType)
            {
                foreach (FieldInfo field in type.GetFields(Fields))
                {
                    object? value = field.GetValue(holder);
                    bool ours = field.FieldType.Assembly == typeof(MegaPipeConnection).Assembly;
                    if (ours && field.FieldType is { IsValueType: true, IsEnum: false })
                    {
                        LookInto(value!, field.FieldType);
                    }
                    else if (!field.FieldType.IsValueType)
                    {
                        Look(value);
                    }
                }
            }
        }
    }
}
