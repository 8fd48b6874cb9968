// What one host has to measure: its channels, and its endpoints on each of them.
using System.Net;
using System.Net.Sockets;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>An endpoint's connections on one channel. Written by the channel's carrier, read by any thread.</summary>
internal sealed class ConnectionCounts
{
    public int Active;
    public long Accepted;
    public long Resets;
    public long AcceptErrors;
}

/// <summary>An endpoint on all channels, and how the conventions name it.</summary>
internal sealed class EndpointMeter
{
    private readonly Lock _sync = new();
    private readonly KeyValuePair<string, object?>[] _address;
    private ConnectionCounts[] _counts = [];
    private KeyValuePair<string, object?>[][] _tags = [];

    public EndpointMeter(EndPoint endPoint)
    {
        EndPoint = endPoint;
        _address = Describe(endPoint);
    }

    public EndPoint EndPoint { get; }

    public int ChannelCount => Volatile.Read(ref _counts).Length;

    /// <summary>The counts on a channel. Any thread.</summary>
    public ConnectionCounts On(int channel)
    {
        ConnectionCounts[] counts = Volatile.Read(ref _counts);
        return channel < counts.Length ? counts[channel] : Grow(channel);
    }

    public KeyValuePair<string, object?>[] Tags(int channel) => _tags[channel];

    private ConnectionCounts Grow(int channel)
    {
        lock (_sync)
        {
            while (_counts.Length <= channel)
            {
                _tags = [.. _tags, [new(MegaPipeMetrics.ChannelTag, _counts.Length), .. _address]];
                Volatile.Write(ref _counts, [.. _counts, new ConnectionCounts()]);
            }

            return _counts[channel];
        }
    }

    /// <summary>As Kestrel's own instruments have it; of a socket that was given nothing is known.</summary>
    internal static KeyValuePair<string, object?>[] Describe(EndPoint endPoint) => endPoint switch
    {
        IPEndPoint { Port: > 0 } ip =>
        [
            new("server.address", ip.Address.ToString()), new("server.port", ip.Port),
            new("network.transport", "tcp"),
            new("network.type", ip.AddressFamily == AddressFamily.InterNetworkV6 ? "ipv6" : "ipv4"),
        ],
        UnixDomainSocketEndPoint unix =>
            [new("server.address", unix.ToString()), new("network.transport", "unix")],
        _ => [],
    };
}

/// <summary>A host's part of the meter.</summary>
internal sealed class HostMeter(IReadOnlyList<IMeteredChannel> channels)
{
    private readonly Lock _sync = new();
    private EndpointMeter[] _endpoints = [];

    public IReadOnlyList<IMeteredChannel> Channels { get; } = channels;

    public KeyValuePair<string, object?>[][] Tags { get; } =
        [.. channels.Select(channel => new KeyValuePair<string, object?>[] { MegaPipeMetrics.Tag(channel.Index) })];

    public EndpointMeter[] Endpoints => Volatile.Read(ref _endpoints);

    /// <summary>One for each address: an endpoint that is bound again goes on counting.</summary>
    public EndpointMeter For(EndPoint endPoint)
    {
        lock (_sync)
        {
            EndpointMeter? meter = Array.Find(_endpoints, other => other.EndPoint.Equals(endPoint));
            if (meter is null)
            {
                meter = new EndpointMeter(endPoint);
                foreach (IMeteredChannel channel in Channels)
                {
                    meter.On(channel.Index);
                }

                Volatile.Write(ref _endpoints, [.. _endpoints, meter]);
            }

            return meter;
        }
    }
}
