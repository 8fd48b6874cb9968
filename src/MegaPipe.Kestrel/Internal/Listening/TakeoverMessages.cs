// What two processes say to each other when one takes the other's listeners over.
//
//   predecessor                                     successor
//                                                   connects
//   "listener OWNER ADDRESS", with its sockets ───▶ (again for more sockets than fit)
//   "all" ────────────────────────────────────────▶ binds, serves from the same queues; starts
//                                                ◀─ "ready", and the addresses that it has taken
//   stops listening for successors
//   "yours" ──────────────────────────────────────▶ listens for a successor of its own
//   stops accepting there, and then its host
//
// Either may die at any step: the other goes on as it was.
using System.Net;
using System.Net.Sockets;
using System.Text;
using MegaPipe.Native;

namespace MegaPipe.Kestrel.Internal.Listening;

/// <summary>One listener on its way: sockets of one address, in the order of their group.</summary>
/// <param name="Address">As <see cref="TakeoverMessages.AddressOf"/> says it.</param>
/// <param name="Owner">Whose the sockets are.</param>
/// <param name="Fds">Descriptors that belong to whoever has this.</param>
internal sealed record PassedListener(string Address, SocketOwner Owner, List<int> Fds)
{
    public void Close() => Fds.ForEach(DescriptorPassing.Close);
}

internal static class TakeoverMessages
{
    public const string All = "all";
    public const string Ready = "ready";
    public const string Yours = "yours";

    private const string Listener = "listener";
    private const char Separator = '\n';

    /// <summary>
    /// A name that both processes give to an address; null for a Unix socket without one. A path counts as it is
    /// written, from the folder of the process.
    /// </summary>
    public static string? AddressOf(EndPoint? endPoint) => endPoint switch
    {
        IPEndPoint ip => $"tcp {ip}",
        UnixDomainSocketEndPoint unix when unix.ToString() is [not '@', ..] path => $"unix {Path.GetFullPath(path)}",
        UnixDomainSocketEndPoint unix when unix.ToString() is { Length: > 0 } name => $"unix {name}",
        _ => null,
    };

    /// <summary>The file of a Unix socket; null where there is none.</summary>
    public static string? PathOf(EndPoint? endPoint) =>
        endPoint is UnixDomainSocketEndPoint unix && unix.ToString() is [not '@', ..] path ? path : null;

    /// <summary>The endpoint of the option: a path, or a name in the network namespace behind an @.</summary>
    public static UnixDomainSocketEndPoint EndPointOf(string place) =>
        new(place[0] == '@' ? $"\0{place[1..]}" : place);

    public static Socket CreateSocket() => new(AddressFamily.Unix, SocketType.Seqpacket, ProtocolType.Unspecified);

    public static bool TrySend(Socket socket, string text) =>
        DescriptorPassing.Send(socket, Encoding.UTF8.GetBytes(text), []) == 0;

    public static bool TrySend(Socket socket, PassedListener listener)
    {
        byte[] text = Encoding.UTF8.GetBytes($"{Listener}{Separator}{listener.Owner}{Separator}{listener.Address}");
        foreach (int[] part in listener.Fds.Chunk(DescriptorPassing.MaxDescriptors))
        {
            if (DescriptorPassing.Send(socket, text, part) < 0)
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>The words of the next message; null when the peer has gone, or is silent for too long.</summary>
    public static string[]? Receive(Socket socket, List<int> fds)
    {
        byte[] text = new byte[DescriptorPassing.MaxBytes];
        int bytes = DescriptorPassing.Receive(socket, text, fds);
        return bytes > 0 ? Encoding.UTF8.GetString(text, 0, bytes).Split(Separator) : null;
    }

    /// <summary>A listener's message, or null when it is another one.</summary>
    public static (SocketOwner Owner, string Address)? AsListener(string[] words) =>
        words is [Listener, var owner, var address] && Enum.TryParse(owner, out SocketOwner whose)
            ? (whose, address) : null;
}
