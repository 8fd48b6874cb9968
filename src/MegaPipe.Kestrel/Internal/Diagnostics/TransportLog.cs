// Log messages. Those of a connection keep the stock transport's ids and arguments under this transport's category.
using System.Net;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

internal static partial class TransportLog
{
    /// <summary>
    /// The category of everything here but the start; as stock's, nothing above Debug in normal life.
    /// </summary>
    public const string Category = "MegaPipe.Kestrel";

    /// <summary>What is said once, when the transport starts.</summary>
    public const string StartCategory = "MegaPipe.Kestrel.Start";

    public static void ConnectionPause(ILogger logger, IConnectionIdFeature connection)
    {
        if (logger.IsEnabled(LogLevel.Debug))
        {
            ConnectionPause(logger, connection.ConnectionId);
        }
    }

    public static void ConnectionResume(ILogger logger, IConnectionIdFeature connection)
    {
        if (logger.IsEnabled(LogLevel.Debug))
        {
            ConnectionResume(logger, connection.ConnectionId);
        }
    }

    public static void ConnectionReadFin(ILogger logger, IConnectionIdFeature connection)
    {
        if (logger.IsEnabled(LogLevel.Debug))
        {
            ConnectionReadFin(logger, connection.ConnectionId);
        }
    }

    public static void ConnectionWriteFin(ILogger logger, IConnectionIdFeature connection, string reason)
    {
        if (logger.IsEnabled(LogLevel.Debug))
        {
            ConnectionWriteFin(logger, connection.ConnectionId, reason);
        }
    }

    public static void ConnectionWriteRst(ILogger logger, IConnectionIdFeature connection, string reason)
    {
        if (logger.IsEnabled(LogLevel.Debug))
        {
            ConnectionWriteRst(logger, connection.ConnectionId, reason);
        }
    }

    public static void ConnectionError(ILogger logger, IConnectionIdFeature connection, Exception error)
    {
        if (logger.IsEnabled(LogLevel.Debug))
        {
            ConnectionError(logger, connection.ConnectionId, error);
        }
    }

    public static void ConnectionReset(ILogger logger, IConnectionIdFeature connection)
    {
        if (logger.IsEnabled(LogLevel.Debug))
        {
            ConnectionReset(logger, connection.ConnectionId);
        }
    }

    public static void ConnectionClosedFailed(ILogger logger, IConnectionIdFeature connection, Exception error) =>
        ConnectionClosedFailed(logger, connection.ConnectionId, error);

    [LoggerMessage(101, LogLevel.Information, "MegaPipe serves with {Options}. Kernel: {Features}.",
        EventName = "Started")]
    public static partial void Started(ILogger logger, string options, string features);

    [LoggerMessage(113, LogLevel.Debug, "All options: {Options}.", EventName = "ResolvedOptions")]
    public static partial void ResolvedOptions(ILogger logger, string options);

    [LoggerMessage(121, LogLevel.Warning,
        "{Key} changes nothing: configuration has no option of that name. docs/OPTIONS.md lists them.",
        EventName = "UnknownOption")]
    public static partial void UnknownOption(ILogger logger, string key);

    [LoggerMessage(106, LogLevel.Information,
        "{EndPoint} has one accept queue for all channels: its socket has an option that cannot be copied.",
        EventName = "NotPartitioned")]
    public static partial void NotPartitioned(ILogger logger, EndPoint endPoint);

    [LoggerMessage(EventId = 107, EventName = "Steered",
        Message = "New connections on {EndPoint} are steered by {Steering}, because {Reason}.")]
    public static partial void Steered(
        ILogger logger, LogLevel level, EndPoint endPoint, MegaPipeSteering steering, string reason);

    [LoggerMessage(108, LogLevel.Information, "Channel {Channel} is bound to these CPUs now: {Cpus}.",
        EventName = "ChannelMoved")]
    public static partial void ChannelMoved(ILogger logger, int channel, string cpus);

    [LoggerMessage(109, LogLevel.Information,
        "A successor has taken over, as {Takeover} allows: {EndPoints}. This process ends when its connections have.",
        EventName = "TakenOver")]
    public static partial void TakenOver(ILogger logger, string takeover, string endPoints);

    [LoggerMessage(110, LogLevel.Warning, "No process can take this one over, {Takeover} cannot be had: {Error}",
        EventName = "NoTakeover")]
    public static partial void NoTakeover(ILogger logger, string takeover, string error);

    [LoggerMessage(111, LogLevel.Information, "Took over from the process that listens at {Takeover}.",
        EventName = "TookOver")]
    public static partial void TookOver(ILogger logger, string takeover);

    [LoggerMessage(102, LogLevel.Warning,
        "MegaPipe cannot be used here, the Sockets transport serves instead: {Reason}", EventName = "Fallback")]
    public static partial void Fallback(ILogger logger, string reason);

    [LoggerMessage(103, LogLevel.Error, "Accepting on {EndPoint} failed and is tried again: {Error}.",
        EventName = "AcceptFailed")]
    public static partial void AcceptFailed(ILogger logger, EndPoint endPoint, string error);

    [LoggerMessage(104, LogLevel.Warning,
        "Nearly all of {MaxCarriers} carriers are stuck in application code (see MegaPipe:MaxCarriers). While that "
        + "lasts, everything runs on the thread pool.", EventName = "CarriersExhausted")]
    public static partial void CarriersExhausted(ILogger logger, int maxCarriers);

    [LoggerMessage(105, LogLevel.Warning,
        "No thread could be started for a carrier ({Limits}). While that lasts, everything runs on the thread pool; a "
        + "channel whose carrier is stuck in application code waits for it.", EventName = "NoThread")]
    public static partial void NoThread(ILogger logger, string limits);

    [LoggerMessage(114, LogLevel.Warning,
        "{Endpoint} blocked {Thread}, for {Milliseconds} ms. {Remedy}. Blocked so far: {Total} ms in all "
        + "(count: {Count}), {Worst} ms at worst; said at most every ten minutes for each endpoint.",
        EventName = "Blocked")]
    public static partial void Blocked(
        ILogger logger, string endpoint, string thread, long milliseconds, string remedy, long count, long total,
        long worst);

    [LoggerMessage(115, LogLevel.Warning,
        "Channel {Channel} makes no progress: its carrier is stuck in application code. New connections go to other "
        + "channels until it is back.", EventName = "ChannelHung")]
    public static partial void ChannelHung(ILogger logger, int channel);

    [LoggerMessage(116, LogLevel.Information, "Channel {Channel} is back and gets new connections again.",
        EventName = "ChannelBack")]
    public static partial void ChannelBack(ILogger logger, int channel);

    [LoggerMessage(117, LogLevel.Debug, "{Count} flow groups went to channels with less work.",
        EventName = "GroupsMigrated")]
    public static partial void GroupsMigrated(ILogger logger, long count);

    [LoggerMessage(118, LogLevel.Debug,
        @"Connection id ""{ConnectionId}"" is to move from channel {From} to channel {To}, which has less work.",
        EventName = "ConnectionMoves", SkipEnabledCheck = true)]
    private static partial void ConnectionMoves(ILogger logger, string connectionId, int from, int to);

    public static void ConnectionMoves(ILogger logger, ConnectionContext connection, int from, int to)
    {
        if (logger.IsEnabled(LogLevel.Debug))
        {
            ConnectionMoves(logger, connection.ConnectionId, from, to);
        }
    }

    [LoggerMessage(119, LogLevel.Information, "Profile {Profile}: {Waiting}.", EventName = "Profile")]
    public static partial void Profile(ILogger logger, MegaPipeProfile profile, string waiting);

    [LoggerMessage(120, LogLevel.Warning, "BusyPoll does nothing here: {Reason}", EventName = "BusyPollRefused")]
    public static partial void BusyPollRefused(ILogger logger, string reason);

    [LoggerMessage(112, LogLevel.Error, "Balancing failed and is tried again: {Error}.",
        EventName = "BalancingFailed")]
    public static partial void BalancingFailed(ILogger logger, string error);

    [LoggerMessage(4, LogLevel.Debug, @"Connection id ""{ConnectionId}"" paused.", EventName = "ConnectionPause",
        SkipEnabledCheck = true)]
    private static partial void ConnectionPause(ILogger logger, string connectionId);

    [LoggerMessage(5, LogLevel.Debug, @"Connection id ""{ConnectionId}"" resumed.", EventName = "ConnectionResume",
        SkipEnabledCheck = true)]
    private static partial void ConnectionResume(ILogger logger, string connectionId);

    [LoggerMessage(6, LogLevel.Debug, @"Connection id ""{ConnectionId}"" received FIN.",
        EventName = "ConnectionReadFin", SkipEnabledCheck = true)]
    private static partial void ConnectionReadFin(ILogger logger, string connectionId);

    [LoggerMessage(7, LogLevel.Debug, @"Connection id ""{ConnectionId}"" sending FIN because: ""{Reason}""",
        EventName = "ConnectionWriteFin", SkipEnabledCheck = true)]
    private static partial void ConnectionWriteFin(ILogger logger, string connectionId, string reason);

    [LoggerMessage(8, LogLevel.Debug, @"Connection id ""{ConnectionId}"" sending RST because: ""{Reason}""",
        EventName = "ConnectionWriteRst", SkipEnabledCheck = true)]
    private static partial void ConnectionWriteRst(ILogger logger, string connectionId, string reason);

    [LoggerMessage(14, LogLevel.Debug, @"Connection id ""{ConnectionId}"" communication error.",
        EventName = "ConnectionError", SkipEnabledCheck = true)]
    private static partial void ConnectionError(ILogger logger, string connectionId, Exception error);

    [LoggerMessage(19, LogLevel.Debug, @"Connection id ""{ConnectionId}"" reset.", EventName = "ConnectionReset",
        SkipEnabledCheck = true)]
    private static partial void ConnectionReset(ILogger logger, string connectionId);

    [LoggerMessage(20, LogLevel.Error,
        @"Connection id ""{ConnectionId}"": a registration on ConnectionClosed threw an exception.",
        EventName = "ConnectionClosedFailed")]
    private static partial void ConnectionClosedFailed(ILogger logger, string connectionId, Exception error);
}
