// A host's part in a takeover: what it gets from the process before it, and who may take over from it.
using System.Net;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using MegaPipe.Kestrel.Internal.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Listening;

internal sealed class Takeover : IDisposable
{
    private readonly string _place;
    private readonly ILogger _logger;
    private readonly IHostApplicationLifetime? _host;
    private readonly Lock _sync = new();
    private readonly List<MegaPipeConnectionListener> _listeners = [];
    private readonly CancellationTokenRegistration _started;
    private Predecessor? _predecessor;
    private SuccessorListener? _successors;
    private bool _ready;
    private bool _disposed;

    private Takeover(string place, IServiceProvider services, ILogger logger)
    {
        _place = place;
        _logger = logger;
        _predecessor = Predecessor.Find(place);
        _host = services.GetService<IHostApplicationLifetime>();
        if (_host is not null)
        {
            _started = _host.ApplicationStarted.Register(() => _ = BeReadyAsync());
        }
    }

    /// <summary>null where nobody has asked for it.</summary>
    public static Takeover? Begin(MegaPipeTransportOptions options, IServiceProvider services, ILogger logger) =>
        options.Takeover is { } place ? new Takeover(place, services, logger) : null;

    /// <summary>The predecessor's sockets for an endpoint that is about to be bound.</summary>
    public ListenSocket? Take(EndPoint endPoint)
    {
        lock (_sync)
        {
            return _predecessor?.Take(endPoint);
        }
    }

    public void Add(MegaPipeConnectionListener listener)
    {
        lock (_sync)
        {
            _listeners.Add(listener);
        }

        if (_host is null)
        {
            _ = BeReadyAsync(); // nobody says when everything is bound
        }
    }

    public void Dispose()
    {
        lock (_sync)
        {
            _disposed = true;
            _predecessor?.Dispose();
            _predecessor = null;
            _successors?.Dispose();
        }

        _started.Unregister();
    }

    /// <summary>The host has started: it serves what it has taken.</summary>
    private async Task BeReadyAsync()
    {
        Predecessor? predecessor;
        lock (_sync)
        {
            if (_ready || _disposed)
            {
                return;
            }

            _ready = true;
            predecessor = _predecessor;
            _predecessor = null;
        }

        if (predecessor is not null)
        {
            using (predecessor)
            {
                if (await predecessor.TellReadyAsync().ConfigureAwait(false))
                {
                    TransportLog.TookOver(_logger, _place);
                }
            }
        }

        lock (_sync)
        {
            if (!_disposed)
            {
                _successors = SuccessorListener.Start(_place, Listeners, () => _host?.StopApplication(), _logger);
            }
        }
    }

    private MegaPipeConnectionListener[] Listeners()
    {
        lock (_sync)
        {
            return [.. _listeners];
        }
    }
}
