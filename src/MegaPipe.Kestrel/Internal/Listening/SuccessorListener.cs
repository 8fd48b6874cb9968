// The old process's side of a takeover: it waits for a successor and gives its listeners away.
using System.Net.Sockets;
using System.Text;
using MegaPipe.Kestrel.Internal.Diagnostics;
using MegaPipe.Native;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>Listens at the place of the option until a successor has taken over, or until it is disposed.</summary>
internal sealed class SuccessorListener : IDisposable
{
    private readonly string _place;
    private readonly Socket _socket;
    private readonly Func<IReadOnlyList<MegaPipeConnectionListener>> _listeners;
    private readonly Action _stopHost;
    private readonly ILogger _logger;
    private int _closed;

    private SuccessorListener(
        string place, Socket socket, Func<IReadOnlyList<MegaPipeConnectionListener>> listeners, Action stopHost,
        ILogger logger)
    {
        _place = place;
        _socket = socket;
        _listeners = listeners;
        _stopHost = stopHost;
        _logger = logger;
    }

    /// <summary>null, and a log line, where the place cannot be had: this process cannot be taken over then.</summary>
    public static SuccessorListener? Start(
        string place, Func<IReadOnlyList<MegaPipeConnectionListener>> listeners, Action stopHost, ILogger logger)
    {
        Socket socket = TakeoverMessages.CreateSocket();
        try
        {
            if (place[0] != '@' && DescriptorPassing.IsSocketFile(place))
            {
                // What a killed process left behind; one that is alive was asked, and has gone from here.
                File.Delete(place);
            }

            socket.Bind(TakeoverMessages.EndPointOf(place));
            if (place[0] != '@' && !OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(place, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            }

            socket.Listen();
        }
        catch (Exception error) when (error is SocketException or IOException or UnauthorizedAccessException)
        {
            socket.Dispose();
            TransportLog.NoTakeover(logger, place, error.Message);
            return null;
        }

        SuccessorListener successors = new(place, socket, listeners, stopHost, logger);
        _ = successors.AcceptAsync();
        return successors;
    }

    /// <summary>Nobody can take over any more. The file goes with the socket.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _closed, 1) == 0)
        {
            _socket.Dispose();
        }
    }

    private async Task AcceptAsync()
    {
        while (true)
        {
            try
            {
                using Socket successor = await _socket.AcceptAsync().ConfigureAwait(false);
                if (DescriptorPassing.IsPeerTrusted(successor) &&
                    await TryHandOverAsync(successor).ConfigureAwait(false))
                {
                    return;
                }
            }
            catch (SocketException) when (Volatile.Read(ref _closed) == 0)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(100)).ConfigureAwait(false); // out of descriptors
            }
            catch (Exception error) when (error is SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    /// <summary>false: that one did not get ready; another one may.</summary>
    private async Task<bool> TryHandOverAsync(Socket successor)
    {
        foreach (MegaPipeConnectionListener listener in _listeners())
        {
            if (listener.Pass() is not { } passed)
            {
                continue;
            }

            bool sent = TakeoverMessages.TrySend(successor, passed);
            passed.Close();
            if (!sent)
            {
                return false;
            }
        }

        if (!TakeoverMessages.TrySend(successor, TakeoverMessages.All))
        {
            return false;
        }

        // It starts its host now, which takes as long as it takes. The end of its process ends this, too.
        byte[] answer = new byte[DescriptorPassing.MaxBytes];
        int bytes;
        try
        {
            bytes = await successor.ReceiveAsync(answer).ConfigureAwait(false);
        }
        catch (SocketException)
        {
            return false;
        }

        if (Encoding.UTF8.GetString(answer, 0, bytes).Split('\n') is not [TakeoverMessages.Ready, .. string[] taken])
        {
            return false;
        }

        Dispose();
        TakeoverMessages.TrySend(successor, TakeoverMessages.Yours);
        TransportLog.TakenOver(_logger, _place, string.Join(", ", taken));
        foreach (MegaPipeConnectionListener listener in _listeners())
        {
            if (taken.Contains(TakeoverMessages.AddressOf(listener.EndPoint)))
            {
                listener.LeaveToSuccessor();
            }
        }

        _stopHost();
        return true;
    }
}
