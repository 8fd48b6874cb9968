// gRPC with Grpc.AspNetCore: every kind of call, failures, cancellation and deadlines. The service is samples/Grpc's.
using System.Buffers.Binary;
using System.Net;
using Grpc.Core;
using Grpc.Net.Client;
using GrpcSample;
using MegaPipe.Kestrel.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace MegaPipe.Kestrel.Tests.Rpc;

public abstract class GrpcContract(TransportKind kind)
{
    [Theory]
    [InlineData("h2c")]
    [InlineData("h2")]
    public async Task Unary_ManyAtOnce_EachItsAnswer(string protocol)
    {
        const int Calls = 60;
        await using Server server = await Server.StartAsync(kind, protocol);
        await Task.WhenAll(Enumerable.Range(0, Calls).Select(async i =>
        {
            byte[] message = new byte[i * i * 20]; // from none to more than a window
            Array.Fill(message, (byte)i);
            using AsyncUnaryCall<byte[]> call =
                server.Invoker.AsyncUnaryCall(EchoMethods.Unary, null, default, message);
            Assert.Equal(message, await call.ResponseAsync);
            Assert.Equal(StatusCode.OK, call.GetStatus().StatusCode);
        })).InTime();
    }

    [Fact]
    public async Task Unary_ServiceThrows_ClientGetsStatusTextAndTrailers()
    {
        await using Server server = await Server.StartAsync(kind);
        server.Service.OnUnary = _ => throw new RpcException(
            new Status(StatusCode.FailedPrecondition, "not today"), new Metadata { { "reason", "rain" } });
        using AsyncUnaryCall<byte[]> call = server.Invoker.AsyncUnaryCall(EchoMethods.Unary, null, default, [1]);
        RpcException error = await Assert.ThrowsAsync<RpcException>(() => call.ResponseAsync.InTime());
        Assert.Equal(StatusCode.FailedPrecondition, error.StatusCode);
        Assert.Equal("not today", error.Status.Detail);
        Assert.Equal("rain", error.Trailers.GetValue("reason"));
        server.Service.OnUnary = null;
        await server.AssertServesAsync();
    }

    [Fact]
    public async Task ServerStreaming_ManyMessages_AllInOrder()
    {
        const int Messages = 2000;
        byte[] count = new byte[sizeof(int)];
        BinaryPrimitives.WriteInt32BigEndian(count, Messages);
        await using Server server = await Server.StartAsync(kind);
        using AsyncServerStreamingCall<byte[]> call =
            server.Invoker.AsyncServerStreamingCall(EchoMethods.Repeat, null, default, count);
        for (int i = 0; i < Messages; i++)
        {
            Assert.True(await call.ResponseStream.MoveNext(default).InTime());
            Assert.Equal(i, BinaryPrimitives.ReadInt32BigEndian(call.ResponseStream.Current));
        }

        Assert.False(await call.ResponseStream.MoveNext(default).InTime());
        Assert.Equal(StatusCode.OK, call.GetStatus().StatusCode);
    }

    [Fact]
    public async Task ClientStreaming_ManyMessages_AllArrive()
    {
        const int Messages = 500, Bytes = 300;
        await using Server server = await Server.StartAsync(kind);
        using AsyncClientStreamingCall<byte[], byte[]> call =
            server.Invoker.AsyncClientStreamingCall(EchoMethods.Collect, null, default);
        for (int i = 0; i < Messages; i++)
        {
            await call.RequestStream.WriteAsync(new byte[Bytes]).InTime();
        }

        await call.RequestStream.CompleteAsync().InTime();
        Assert.Equal(Messages * Bytes, BinaryPrimitives.ReadInt32BigEndian(await call.ResponseAsync.InTime()));
    }

    [Fact]
    public async Task TwoWayStreaming_MessageByMessage_EachAnsweredBeforeTheNext()
    {
        const int Messages = 100;
        await using Server server = await Server.StartAsync(kind);
        using AsyncDuplexStreamingCall<byte[], byte[]> call =
            server.Invoker.AsyncDuplexStreamingCall(EchoMethods.Talk, null, default);
        for (int i = 0; i < Messages; i++)
        {
            byte[] message = [(byte)i, 1, 2];
            await call.RequestStream.WriteAsync(message).InTime();
            Assert.True(await call.ResponseStream.MoveNext(default).InTime());
            Assert.Equal(message, call.ResponseStream.Current);
        }

        await call.RequestStream.CompleteAsync().InTime();
        Assert.False(await call.ResponseStream.MoveNext(default).InTime());
    }

    [Fact]
    public async Task Cancel_InTheMiddleOfAStream_BothSidesEndAndOthersGoOn()
    {
        await using Server server = await Server.StartAsync(kind);
        using AsyncDuplexStreamingCall<byte[], byte[]> other =
            server.Invoker.AsyncDuplexStreamingCall(EchoMethods.Talk, null, default);
        await AssertTalksAsync(other, 1);

        using CancellationTokenSource cancellation = new();
        using AsyncServerStreamingCall<byte[]> call = server.Invoker.AsyncServerStreamingCall(
            EchoMethods.Repeat, null, new CallOptions(cancellationToken: cancellation.Token), []);
        Assert.True(await call.ResponseStream.MoveNext(default).InTime());
        Assert.False(server.Service.Canceled.IsCompleted);
        await cancellation.CancelAsync();
        RpcException error =
            await Assert.ThrowsAsync<RpcException>(() => call.ResponseStream.MoveNext(default).InTime());
        Assert.Equal(StatusCode.Cancelled, error.StatusCode);
        await server.Service.Canceled.InTime();

        await AssertTalksAsync(other, 2); // on the same connection
        await other.RequestStream.CompleteAsync().InTime();
        Assert.False(await other.ResponseStream.MoveNext(default).InTime());
    }

    [Fact]
    public async Task Deadline_Passes_ClientSaysSoAndServerIsTold()
    {
        await using Server server = await Server.StartAsync(kind);
        server.Service.OnUnary = server.Service.WaitForCancelAsync;
        // It counts from the client: where the call has not reached the service within it, the next one has more.
        for (double seconds = 0.3; ; seconds *= 3)
        {
            using AsyncUnaryCall<byte[]> call = server.Invoker.AsyncUnaryCall(
                EchoMethods.Unary, null, new CallOptions(deadline: DateTime.UtcNow.AddSeconds(seconds)), [1]);
            RpcException error = await Assert.ThrowsAsync<RpcException>(() => call.ResponseAsync.InTime());
            Assert.Equal(StatusCode.DeadlineExceeded, error.StatusCode);
            if (server.Service.Begun.IsCompleted)
            {
                break;
            }

            Assert.True(seconds < 10, "no call reached the service");
        }

        await server.Service.Canceled.InTime();
        server.Service.OnUnary = null;
        await server.AssertServesAsync();
    }

    private static async Task AssertTalksAsync(AsyncDuplexStreamingCall<byte[], byte[]> call, byte value)
    {
        await call.RequestStream.WriteAsync([value]).InTime();
        Assert.True(await call.ResponseStream.MoveNext(default).InTime());
        Assert.Equal([value], call.ResponseStream.Current);
    }

    /// <summary>The sample's service, which a test may have wait, or throw.</summary>
    private sealed class TestedService : EchoService
    {
        private readonly TaskCompletionSource _begun = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly TaskCompletionSource _canceled = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public Func<ServerCallContext, Task<byte[]>>? OnUnary { get; set; }

        /// <summary>A call waits for its end.</summary>
        public Task Begun => _begun.Task;

        /// <summary>A call that waited was told that it has ended.</summary>
        public Task Canceled => _canceled.Task;

        public override Task<byte[]> Unary(byte[] request, ServerCallContext context) =>
            OnUnary?.Invoke(context) ?? base.Unary(request, context);

        /// <summary>An empty request: one message, then none until the call ends.</summary>
        public override async Task Repeat(
            byte[] request, IServerStreamWriter<byte[]> responses, ServerCallContext context)
        {
            if (request.Length > 0)
            {
                await base.Repeat(request, responses, context);
                return;
            }

            await responses.WriteAsync([1], context.CancellationToken);
            await WaitForCancelAsync(context);
        }

        public async Task<byte[]> WaitForCancelAsync(ServerCallContext context)
        {
            _begun.TrySetResult();
            try
            {
                await Task.Delay(Timeout.Infinite, context.CancellationToken);
            }
            finally
            {
                _canceled.TrySetResult();
            }

            return [];
        }
    }

    private sealed class Server(HostHarness host, GrpcChannel channel, TestedService service) : IAsyncDisposable
    {
        public TestedService Service => service;

        public CallInvoker Invoker { get; } = channel.CreateCallInvoker();

        public static async Task<Server> StartAsync(TransportKind kind, string protocol = "h2c")
        {
            TestedService service = new();
            HostHarness host = await HostHarness.StartAsync(
                kind, context => context.GetEndpoint()!.RequestDelegate!(context), setup =>
                {
                    setup.Listen = listen => Protocols.Configure(listen, protocol);
                    setup.Services = services => services.AddSingleton(service).AddRouting().AddGrpc();
                    setup.App = app =>
                    {
                        app.UseRouting();
                        app.MapGrpcService<TestedService>();
                    };
                });
            HttpClient client = host.CreateClient(HttpVersion.Version20, protocol == "h2");
            GrpcChannel channel = GrpcChannel.ForAddress(
                client.BaseAddress!, new GrpcChannelOptions { HttpClient = client });
            return new Server(host, channel, service);
        }

        public async Task AssertServesAsync()
        {
            using AsyncUnaryCall<byte[]> call = Invoker.AsyncUnaryCall(EchoMethods.Unary, null, default, [7]);
            Assert.Equal([7], await call.ResponseAsync.InTime());
        }

        public async ValueTask DisposeAsync()
        {
            channel.Dispose();
            await host.DisposeAsync();
        }
    }
}
