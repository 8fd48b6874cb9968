// The service: /echo.Echo, whose messages are plain bytes, so that what is measured is gRPC and not a serializer.
using System.Buffers;
using System.Buffers.Binary;
using Grpc.Core;

namespace GrpcSample;

/// <summary>The methods' names and kinds, as generated code would have them.</summary>
public static class EchoMethods
{
    private const string Service = "echo.Echo";

    private static readonly Marshaller<byte[]> s_bytes = new(
        static (message, context) => context.Complete(message),
        static context => context.PayloadAsReadOnlySequence().ToArray());

    public static Method<byte[], byte[]> Unary { get; } = Create(MethodType.Unary, nameof(Unary));

    public static Method<byte[], byte[]> Collect { get; } = Create(MethodType.ClientStreaming, nameof(Collect));

    public static Method<byte[], byte[]> Repeat { get; } = Create(MethodType.ServerStreaming, nameof(Repeat));

    public static Method<byte[], byte[]> Talk { get; } = Create(MethodType.DuplexStreaming, nameof(Talk));

    private static Method<byte[], byte[]> Create(MethodType type, string name) =>
        new(type, Service, name, s_bytes, s_bytes);
}

/// <summary>What Grpc.AspNetCore binds a service by; generated code looks like this.</summary>
[BindServiceMethod(typeof(EchoBase), nameof(Bind))]
public abstract class EchoBase
{
    public static void Bind(ServiceBinderBase binder, EchoBase? service)
    {
        ArgumentNullException.ThrowIfNull(binder);
        binder.AddMethod(EchoMethods.Unary, service is null ? null : service.Unary);
        binder.AddMethod(EchoMethods.Collect, service is null ? null : service.Collect);
        binder.AddMethod(EchoMethods.Repeat, service is null ? null : service.Repeat);
        binder.AddMethod(EchoMethods.Talk, service is null ? null : service.Talk);
    }

    public abstract Task<byte[]> Unary(byte[] request, ServerCallContext context);

    public abstract Task<byte[]> Collect(IAsyncStreamReader<byte[]> requests, ServerCallContext context);

    public abstract Task Repeat(byte[] request, IServerStreamWriter<byte[]> responses, ServerCallContext context);

    public abstract Task Talk(
        IAsyncStreamReader<byte[]> requests, IServerStreamWriter<byte[]> responses, ServerCallContext context);
}

/// <summary>Answers with what it is sent.</summary>
public class EchoService : EchoBase
{
    private const int MostRepetitions = 1_000_000;

    public override Task<byte[]> Unary(byte[] request, ServerCallContext context) => Task.FromResult(request);

    /// <summary>The number of bytes that came, as four bytes, big-endian.</summary>
    public override async Task<byte[]> Collect(IAsyncStreamReader<byte[]> requests, ServerCallContext context)
    {
        ArgumentNullException.ThrowIfNull(requests);
        int bytes = 0;
        await foreach (byte[] message in requests.ReadAllAsync())
        {
            bytes += message.Length;
        }

        return ToBytes(bytes);
    }

    /// <summary>Counts from 0 to the number in the request's first four bytes, big-endian, a message each.</summary>
    public override async Task Repeat(
        byte[] request, IServerStreamWriter<byte[]> responses, ServerCallContext context)
    {
        ArgumentNullException.ThrowIfNull(request);
        ArgumentNullException.ThrowIfNull(responses);
        if (request.Length < sizeof(int) || BinaryPrimitives.ReadInt32BigEndian(request) is < 0 or > MostRepetitions)
        {
            throw new RpcException(new Status(StatusCode.InvalidArgument, "a count of up to a million, big-endian"));
        }

        int count = BinaryPrimitives.ReadInt32BigEndian(request);
        for (int i = 0; i < count; i++)
        {
            await responses.WriteAsync(ToBytes(i));
        }
    }

    public override async Task Talk(
        IAsyncStreamReader<byte[]> requests, IServerStreamWriter<byte[]> responses, ServerCallContext context)
    {
        ArgumentNullException.ThrowIfNull(requests);
        ArgumentNullException.ThrowIfNull(responses);
        await foreach (byte[] message in requests.ReadAllAsync())
        {
            await responses.WriteAsync(message);
        }
    }

    private static byte[] ToBytes(int number)
    {
        byte[] bytes = new byte[sizeof(int)];
        BinaryPrimitives.WriteInt32BigEndian(bytes, number);
        return bytes;
    }
}
