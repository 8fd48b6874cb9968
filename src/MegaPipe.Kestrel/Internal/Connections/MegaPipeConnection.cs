// One connection: what Kestrel sees of it. Its way through the channel is in the files named after the stages:
// .Accept.cs, .Read.cs, .Write.cs, .Close.cs; from one channel to another in .Move.cs.
using System.Diagnostics.CodeAnalysis;
using System.IO.Pipelines;
using System.Net;
using System.Net.Sockets;
using System.Buffers;
using MegaPipe.Kestrel.Internal.Carrying;
using MegaPipe.Kestrel.Internal.Channels;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Kestrel.Internal.Pipes;
using MegaPipe.Native;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Connections;

internal sealed partial class MegaPipeConnection : ConnectionContext, IHandleOwner, IChannelWork,
    IThreadPoolWorkItem, IDuplexPipe, IPipeOwner, IConnectionIdFeature, IConnectionTransportFeature,
    IConnectionItemsFeature, IConnectionLifetimeFeature, IConnectionEndPointFeature, IMemoryPoolFeature,
    IConnectionSocketFeature, IDescribedWork
{
    private readonly EndpointContext _endpoint;
    private ConnectionCounts _counts; // of its channel
    private readonly ContinuationCost _cost;
    private readonly LeasePipeReader _input;
    private readonly CoalescingPipeWriter _output;
    private readonly ConnectionFeatures _features;
    private IDuplexPipe _transport;
    private IDictionary<object, object?>? _items;
    private string? _connectionId;
    private EndPoint? _localEndPoint;
    private EndPoint? _remoteEndPoint;
    private int _asks;

    public MegaPipeConnection(
        TransportChannel channel, EndpointContext endpoint, long handle, EndPoint? local, EndPoint? remote)
    {
        Channel = channel;
        Handle = handle;
        _endpoint = endpoint;
        _counts = endpoint.Meter.On(channel.Index);
        _localEndPoint = local;
        _remoteEndPoint = remote;
        _cost = new ContinuationCost(channel, this);
        _input = new LeasePipeReader(this, _cost, channel.Scheduling, endpoint.MaxReadBufferSize);
        _output = new CoalescingPipeWriter(this, _cost, endpoint.MaxWriteBufferSize, endpoint.ZeroCopyFrom);
        _connectionClosedToken = _connectionClosed.Token;
        _transport = this;
        _features = new ConnectionFeatures(this);
    }

    /// <summary>Over a connected socket, which is the connection's from now on.</summary>
    public MegaPipeConnection(TransportChannel channel, EndpointContext endpoint, Socket socket)
        : this(channel, endpoint, 0, socket.LocalEndPoint, socket.RemoteEndPoint)
    {
        _socket = socket;
        _isGiven = true;
        Ask(ConnectionAsks.Join);
    }

    /// <summary>Where it lives. Changed by the carrier that gets it, where it moves.</summary>
    public TransportChannel Channel { get; private set; }

    /// <summary>What it shares with others of its endpoint, or of the factory that connected it.</summary>
    public EndpointContext Context => _endpoint;

    /// <summary>The channel's handle. For the carrier.</summary>
    public long Handle { get; private set; }

    public override string ConnectionId
    {
        get => _connectionId ??= ConnectionIds.Next();
        set => _connectionId = value;
    }

    public override IFeatureCollection Features => _features;

    [AllowNull]
    public override IDictionary<object, object?> Items
    {
        get => _items ??= new ConnectionItems();
        set => _items = value;
    }

    public override IDuplexPipe Transport
    {
        get => _transport;
        set => _transport = value;
    }

    public override EndPoint? LocalEndPoint
    {
        get => _localEndPoint;
        set => _localEndPoint = value;
    }

    public override EndPoint? RemoteEndPoint
    {
        get => _remoteEndPoint;
        set => _remoteEndPoint = value;
    }

    public MemoryPool<byte> MemoryPool => _endpoint.MemoryPool;

    /// <summary>What <see cref="Transport"/> begins with.</summary>
    public LeasePipeReader Reader => _input;

    /// <summary>The application's end of the pipes, whatever <see cref="Transport"/> was replaced with.</summary>
    PipeReader IDuplexPipe.Input => _input;

    PipeWriter IDuplexPipe.Output => _output;

    IChannelWork? IChannelWork.NextWork { get; set; }

    private ILogger Logger => _endpoint.Logger;

    /// <summary>Many asks are one piece of work.</summary>
    public void Ask(ConnectionAsks asks)
    {
        if (Interlocked.Or(ref _asks, (int)asks) == 0)
        {
            Channel.Post(this);
        }
    }

    public void OnEvent(in ChannelEvent channelEvent)
    {
        switch (channelEvent.Stage)
        {
            case Stage.Write:
                OnWrite(in channelEvent);
                break;
            case Stage.Close when channelEvent.IsRetired:
                Count(-1);
                OnRetired();
                break;
        }
    }

    void IChannelWork.Perform(TransportChannel channel)
    {
        Perform((ConnectionAsks)Interlocked.Exchange(ref _asks, 0));
    }

    private void Perform(ConnectionAsks asks)
    {
        if (_retired)
        {
            PerformAfterRetirement(asks);
            return;
        }

        if ((asks & ConnectionAsks.Join) != 0 && !Join())
        {
            PerformAfterRetirement(asks);
            return;
        }

        if ((asks & ConnectionAsks.CompleteRead) != 0)
        {
            _input.CompleteHere();
        }

        if ((asks & ConnectionAsks.Install) != 0)
        {
            PerformInstall();
        }

        if ((asks & ConnectionAsks.Send) != 0)
        {
            Send();
        }

        if ((asks & ConnectionAsks.TellEnd) != 0)
        {
            TellEnd();
        }

        if ((asks & ConnectionAsks.Resume) != 0)
        {
            ResumeReading();
        }

        if ((asks & ConnectionAsks.Receive) != 0)
        {
            Receive();
        }

        if ((asks & ConnectionAsks.ReadOn) != 0)
        {
            ReadOnAfterTurn();
        }

        if ((asks & (ConnectionAsks.Finish | ConnectionAsks.Close | ConnectionAsks.Reset)) != 0)
        {
            PerformClose(asks);
        }

        if ((asks & ConnectionAsks.Move) != 0)
        {
            PerformMove(); // the last: afterwards it may be another carrier's
        }
    }

    /// <summary>The handle is already retired: only waiting calls are completed.</summary>
    private void PerformAfterRetirement(ConnectionAsks asks)
    {
        if ((asks & ConnectionAsks.CompleteRead) != 0)
        {
            _input.CompleteHere();
        }

        if ((asks & ConnectionAsks.Install) != 0)
        {
            PerformInstall();
        }

        if ((asks & ConnectionAsks.Receive) != 0)
        {
            Receive();
        }
    }

    Socket IConnectionSocketFeature.Socket => GetSocket();
}
