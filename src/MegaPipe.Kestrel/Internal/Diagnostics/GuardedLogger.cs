// The host's logger as the transport may use it on its own threads.
using System.Diagnostics.CodeAnalysis;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>
/// Keeps what a logging provider throws from the carriers, whose unhandled exceptions would end the process: a message
/// is lost instead.
/// </summary>
[SuppressMessage("Design", "CA1031", Justification = "This is what the class is for.")]
internal sealed class GuardedLogger(ILogger logger) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state) where TState : notnull => logger.BeginScope(state);

    public bool IsEnabled(LogLevel logLevel)
    {
        try
        {
            return logger.IsEnabled(logLevel);
        }
        catch (Exception)
        {
            return false;
        }
    }

    public void Log<TState>(
        LogLevel logLevel, EventId eventId, TState state, Exception? exception,
        Func<TState, Exception?, string> formatter)
    {
        try
        {
            logger.Log(logLevel, eventId, state, exception, formatter);
        }
        catch (Exception)
        {
        }
    }
}
