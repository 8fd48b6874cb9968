// The stock Sockets transport, as UseSockets registers it: what serves where MegaPipe cannot, and what is asked last
// for endpoints that neither MegaPipe nor another transport claims.
using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using MegaPipe.Kestrel.Internal.Pipes;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace MegaPipe.Kestrel.Internal.Listening;

internal static class StockTransport
{
    /// <summary>
    /// Registers what UseSockets registers, whatever that is: its options' set-up is internal to it (the memory pools
    /// of Kestrel, without which every write before the first flush fails).
    /// </summary>
    public static void Add(IServiceCollection services)
    {
        if (services.Any(service => service.ServiceType == typeof(Marker)))
        {
            return;
        }

        services.AddSingleton<Marker>();
        ServiceCollection stock = [];
        new ServiceCollector(stock).UseSockets();
        foreach (ServiceDescriptor service in stock)
        {
            if (service.ServiceType == typeof(IConnectionListenerFactory))
            {
                // UseSockets adds it only where no transport is registered yet. Kestrel asks the first one last.
                if (!services.Any(other => other.ServiceType == service.ServiceType &&
                    other.ImplementationType == service.ImplementationType))
                {
                    services.Insert(0, service);
                }
            }
            else if (service.ServiceType == typeof(IMemoryPoolFactory<byte>))
            {
                // Kestrel's own wins over both; without Kestrel, UseSockets' default has no pinned memory.
                services.TryAddSingleton<IMemoryPoolFactory<byte>, PinnedPoolFactory>();
            }
            else if (service.ServiceType == typeof(IConfigureOptions<SocketTransportOptions>))
            {
                services.Add(service);
            }
            else
            {
                services.TryAdd(service);
            }
        }
    }

    /// <summary>
    /// The factory as the container makes it, from the application's <see cref="SocketTransportOptions"/>, on which
    /// those of <paramref name="options"/> are laid that were given a value.
    /// </summary>
    public static IConnectionListenerFactory Create(IServiceProvider services, MegaPipeTransportOptions options)
    {
        SocketTransportOptions sockets = Options(services);
        if ((options.Given & Shared.NoDelay) != 0)
        {
            sockets.NoDelay = options.NoDelay;
        }

        if ((options.Given & Shared.Backlog) != 0)
        {
            sockets.Backlog = options.Backlog;
        }

        if ((options.Given & Shared.MaxReadBufferSize) != 0)
        {
            sockets.MaxReadBufferSize = options.MaxReadBufferSize;
        }

        if ((options.Given & Shared.MaxWriteBufferSize) != 0)
        {
            sockets.MaxWriteBufferSize = options.MaxWriteBufferSize;
        }

        if ((options.Given & Shared.FinOnError) != 0)
        {
            SetFinOnError(sockets, options.FinOnError);
        }

        if (options.CreateBoundListenSocket is { } create)
        {
            sockets.CreateBoundListenSocket = create;
        }
        else if (options.ShareAddress &&
            sockets.CreateBoundListenSocket == SocketTransportOptions.CreateDefaultBoundListenSocket)
        {
            sockets.CreateBoundListenSocket = endPoint => ListenSockets.Bind(endPoint, shareAddress: true);
        }

        IConnectionListenerFactory factory = ActivatorUtilities.CreateInstance<SocketTransportFactory>(services);
        return options.KeepAlive ? new KeepAliveFactory(factory, options) : factory;
    }

    /// <summary>The same for connections over given sockets. Throws where it may not be.</summary>
    public static SocketConnectionContextFactory CreateContextFactory(
        MegaPipeTransportOptions options, ILogger logger, IMemoryPoolFactory<byte>? pools, string reason)
    {
        ThrowIfNotAllowed(options, reason);
        SocketConnectionFactoryOptions sockets = new()
        {
            MaxReadBufferSize = options.MaxReadBufferSize,
            MaxWriteBufferSize = options.MaxWriteBufferSize,
        };
        try
        {
            SetMemoryPoolFactory(sockets, pools ?? new PinnedPoolFactory());
            SetFinOnErrorCore(sockets, options.FinOnError);
        }
        catch (MissingMethodException)
        {
            // As below.
        }

        return new SocketConnectionContextFactory(sockets, logger);
    }

    /// <exception cref="PlatformNotSupportedException">The options want no other transport.</exception>
    public static void ThrowIfNotAllowed(MegaPipeTransportOptions options, string reason)
    {
        if (options.Fallback == MegaPipeFallback.Fail)
        {
            throw new PlatformNotSupportedException(
                $"MegaPipe cannot be used here: {reason} (MegaPipe:Fallback is Fail; Sockets would serve instead.)");
        }
    }

    /// <summary>The stock transport's options of this host.</summary>
    public static SocketTransportOptions Options(IServiceProvider services) =>
        services.GetRequiredService<IOptions<SocketTransportOptions>>().Value;

    private static void SetFinOnError(SocketTransportOptions sockets, bool value)
    {
        try
        {
            SetFinOnErrorCore(sockets, value);
        }
        catch (MissingMethodException)
        {
            // A framework that has no such switch any more decides by itself.
        }
    }

    // Public only as an AppContext switch, which is read before the options of this host are known.
    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_FinOnError")]
    private static extern void SetFinOnErrorCore(SocketTransportOptions options, bool value);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_FinOnError")]
    private static extern void SetFinOnErrorCore(SocketConnectionFactoryOptions options, bool value);

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "set_MemoryPoolFactory")]
    private static extern void SetMemoryPoolFactory(
        SocketConnectionFactoryOptions options, IMemoryPoolFactory<byte> value);

    private sealed class Marker;

    private sealed class PinnedPoolFactory : IMemoryPoolFactory<byte>
    {
        private readonly TransportMemoryPools _pools = new(null);

        public System.Buffers.MemoryPool<byte> Create(MemoryPoolOptions? options = null) => _pools.Create();
    }

    /// <summary>Sets keep-alive on each connection: it touches no listening socket that somebody else made.</summary>
    private sealed class KeepAliveFactory(IConnectionListenerFactory inner, MegaPipeTransportOptions options)
        : IConnectionListenerFactory
    {
        public async ValueTask<IConnectionListener> BindAsync(
            EndPoint endpoint, CancellationToken cancellationToken = default) => new KeepAliveListener(
            await inner.BindAsync(endpoint, cancellationToken).ConfigureAwait(false), options);
    }

    private sealed class KeepAliveListener(IConnectionListener inner, MegaPipeTransportOptions options)
        : IConnectionListener
    {
        public EndPoint EndPoint => inner.EndPoint;

        public async ValueTask<ConnectionContext?> AcceptAsync(CancellationToken cancellationToken = default)
        {
            ConnectionContext? connection = await inner.AcceptAsync(cancellationToken).ConfigureAwait(false);
            if (connection?.LocalEndPoint is IPEndPoint &&
                connection.Features.Get<IConnectionSocketFeature>() is { } feature)
            {
                try
                {
                    ListenSockets.SetKeepAlive(feature.Socket, options);
                }
                catch (Exception error) when (error is SocketException or ObjectDisposedException)
                {
                    // The peer has gone already; the connection says so itself.
                }
            }

            return connection;
        }

        public ValueTask UnbindAsync(CancellationToken cancellationToken = default) =>
            inner.UnbindAsync(cancellationToken);

        public ValueTask DisposeAsync() => inner.DisposeAsync();
    }

    /// <summary>A web host builder of which nothing is used but the collecting of services.</summary>
    private sealed class ServiceCollector(IServiceCollection services) : IWebHostBuilder
    {
        public IWebHostBuilder ConfigureServices(Action<IServiceCollection> configureServices)
        {
            configureServices(services);
            return this;
        }

        public IWebHostBuilder ConfigureServices(Action<WebHostBuilderContext, IServiceCollection> configureServices)
        {
            configureServices(new WebHostBuilderContext(), services);
            return this;
        }

        public IWebHostBuilder ConfigureAppConfiguration(
            Action<WebHostBuilderContext, IConfigurationBuilder> configureDelegate) => this;

        public IWebHostBuilder UseSetting(string key, string? value) => this;

        public string? GetSetting(string key) => null;

#pragma warning disable ASPDEPR008 // IWebHost: the interface that UseSockets extends has it
        public IWebHost Build() => throw new NotSupportedException();
#pragma warning restore ASPDEPR008
    }
}
