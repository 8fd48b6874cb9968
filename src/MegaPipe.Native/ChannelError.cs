// From negative errno values, the channel's only kind of expected failure, to what .NET programs know.
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Tmds.Linux;

namespace MegaPipe.Native;

/// <summary>From the negative results of channels and events to <see cref="SocketError"/> and exceptions.</summary>
internal static class ChannelError
{
    /// <summary>This kernel is older than the floor (MP_ERROR_TOO_OLD).</summary>
    public const int TooOld = -10001;

    /// <summary>io_uring is denied to this process (MP_ERROR_DENIED).</summary>
    public const int Denied = -10002;

    /// <summary>No memory, and RLIMIT_MEMLOCK may be used up (MP_ERROR_LOCKED_MEMORY).</summary>
    public const int LockedMemory = -10003;

    // Results are compared with these on hot paths; errno numbers do not differ between x64 and arm64.
    public static readonly int Canceled = -LibC.ECANCELED;
    public static readonly int BadHandle = -LibC.EBADF;
    public static readonly int Busy = -LibC.EBUSY;
    public static readonly int TryAgain = -LibC.EAGAIN;
    public static readonly int Already = -LibC.EALREADY;
    public static readonly int NotSupported = -LibC.ENOTSUP;
    public static readonly int ConnectionReset = -LibC.ECONNRESET;
    public static readonly int BrokenPipe = -LibC.EPIPE;
    public static readonly int TimedOut = -LibC.ETIMEDOUT;
    public static readonly int ConnectionAborted = -LibC.ECONNABORTED;
    public static readonly int TooManyFiles = -LibC.EMFILE;
    public static readonly int TableFull = -LibC.ENFILE;
    public static readonly int NotPermitted = -LibC.EPERM;
    public static readonly int InvalidArgument = -LibC.EINVAL;
    public static readonly int NotConnected = -LibC.ENOTCONN;

    private static readonly SocketError[] s_socketErrors = CreateTable();

    /// <summary>The <see cref="SocketError"/> that the runtime's own sockets give for the same errno.</summary>
    public static SocketError ToSocketError(int error)
    {
        if (error >= 0)
        {
            return SocketError.Success;
        }

        if (error is TooOld or Denied)
        {
            return SocketError.OperationNotSupported;
        }

        if (error == LockedMemory)
        {
            return SocketError.NoBufferSpaceAvailable;
        }

        long number = -(long)error;
        return number < s_socketErrors.Length ? s_socketErrors[number] : SocketError.SocketError;
    }

    /// <summary>A new exception for a negative result, with the library's text.</summary>
    public static Exception ToException(int error, string operation) => error is TooOld or Denied
        ? new PlatformNotSupportedException($"{operation}: {Text(error)}")
        : new SocketException((int)ToSocketError(error), $"{operation}: {Text(error)}");

    /// <summary>Throws for a negative result; returns any other.</summary>
    public static int ThrowIfNegative(int result, string operation) =>
        result >= 0 ? result : throw ToException(result, operation);

    /// <summary>The library's English text for a negative result.</summary>
    public static unsafe string Text(int error)
    {
        NativeLibraryLoader.EnsureRegistered();
        return Marshal.PtrToStringUTF8((nint)NativeMethods.mp_error_text(error)) ?? "";
    }

    /// <summary>For a ring that worked until now.</summary>
    public static string TextOfBroken(int error) =>
        error == NotPermitted || error == -LibC.EACCES || error == -LibC.ENOSYS
            ? $"io_uring_enter is denied now ({Text(error)}) and was allowed when the channel started. A seccomp " +
                "filter that was installed later does that. Allow io_uring_setup, io_uring_enter and " +
                "io_uring_register in it, or install it before the process starts: then another transport serves."
            : Text(error);

    // The same pairs as the runtime's SocketErrorPal for Unix, without those that a stream socket cannot give.
    private static SocketError[] CreateTable()
    {
        (int Number, SocketError Error)[] pairs =
        [
            (LibC.EACCES, SocketError.AccessDenied),
            (LibC.EADDRINUSE, SocketError.AddressAlreadyInUse),
            (LibC.EADDRNOTAVAIL, SocketError.AddressNotAvailable),
            (LibC.EAFNOSUPPORT, SocketError.AddressFamilyNotSupported),
            (LibC.EAGAIN, SocketError.WouldBlock),
            (LibC.EALREADY, SocketError.AlreadyInProgress),
            (LibC.EBADF, SocketError.OperationAborted),
            (LibC.ECANCELED, SocketError.OperationAborted),
            (LibC.ECONNABORTED, SocketError.ConnectionAborted),
            (LibC.ECONNREFUSED, SocketError.ConnectionRefused),
            (LibC.ECONNRESET, SocketError.ConnectionReset),
            (LibC.EDESTADDRREQ, SocketError.DestinationAddressRequired),
            (LibC.EFAULT, SocketError.Fault),
            (LibC.EHOSTDOWN, SocketError.HostDown),
            (LibC.EHOSTUNREACH, SocketError.HostUnreachable),
            (LibC.EINPROGRESS, SocketError.InProgress),
            (LibC.EINTR, SocketError.Interrupted),
            (LibC.EINVAL, SocketError.InvalidArgument),
            (LibC.EISCONN, SocketError.IsConnected),
            (LibC.EMFILE, SocketError.TooManyOpenSockets),
            (LibC.EMSGSIZE, SocketError.MessageSize),
            (LibC.ENETDOWN, SocketError.NetworkDown),
            (LibC.ENETRESET, SocketError.NetworkReset),
            (LibC.ENETUNREACH, SocketError.NetworkUnreachable),
            (LibC.ENFILE, SocketError.TooManyOpenSockets),
            (LibC.ENOBUFS, SocketError.NoBufferSpaceAvailable),
            (LibC.ENOENT, SocketError.AddressNotAvailable),
            (LibC.ENOMEM, SocketError.NoBufferSpaceAvailable),
            (LibC.ENOPROTOOPT, SocketError.ProtocolOption),
            (LibC.ENOTCONN, SocketError.NotConnected),
            (LibC.ENOTSOCK, SocketError.NotSocket),
            (LibC.ENOTSUP, SocketError.OperationNotSupported),
            (LibC.EPERM, SocketError.AccessDenied),
            (LibC.EPIPE, SocketError.Shutdown),
            (LibC.EPROTONOSUPPORT, SocketError.ProtocolNotSupported),
            (LibC.EPROTOTYPE, SocketError.ProtocolType),
            (LibC.ESHUTDOWN, SocketError.Disconnecting),
            (LibC.ETIMEDOUT, SocketError.TimedOut),
        ];
        SocketError[] table = new SocketError[pairs.Max(static pair => pair.Number) + 1];
        Array.Fill(table, SocketError.SocketError);
        foreach ((int number, SocketError error) in pairs)
        {
            table[number] = error;
        }

        return table;
    }
}
