// Keeps every log entry of a host or factory, so that tests can count entries and wait for one.
using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace MegaPipe.Kestrel.Tests.Support;

public sealed record LogEntry(string Category, LogLevel Level, EventId Id, string Message, Exception? Exception)
{
    /// <summary>
    /// Whether a transport wrote it, stock or ours: the ids are the same, the category is each one's own. What ours
    /// says when it starts is not among it.
    /// </summary>
    public bool IsTransport =>
        Category.StartsWith("Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets", StringComparison.Ordinal) ||
        Category == "MegaPipe.Kestrel";

    /// <summary>Whether MegaPipe wrote it when it started.</summary>
    public bool IsStart => Category == "MegaPipe.Kestrel.Start";
}

public sealed class LogCapture : ILoggerProvider
{
    public const int ConnectionPause = 4;
    public const int ConnectionResume = 5;
    public const int ConnectionReadFin = 6;
    public const int ConnectionWriteFin = 7;
    public const int ConnectionWriteRst = 8;
    public const int ConnectionError = 14;
    public const int ConnectionReset = 19;

    private readonly ConcurrentQueue<LogEntry> _entries = new();

    public IReadOnlyList<LogEntry> Entries => [.. _entries];

    public IReadOnlyList<LogEntry> Transport(int id) =>
        [.. _entries.Where(entry => entry.IsTransport && entry.Id.Id == id)];

    public IReadOnlyList<LogEntry> Start(int id) =>
        [.. _entries.Where(entry => entry.IsStart && entry.Id.Id == id)];

    public int Count(int id) => Transport(id).Count;

    /// <summary>Waits until the transport has written at least that many entries with this id.</summary>
    public Task Reached(int id, int count = 1) =>
        Eventually.True(() => Count(id) >= count, Describe, $"{count} transport log entries with id {id}");

    public string Describe() => string.Join(
        Environment.NewLine,
        _entries.TakeLast(40).Select(entry => $"{entry.Level} {entry.Category}[{entry.Id.Id}] {entry.Message}"));

    public ILogger CreateLogger(string categoryName) => new Logger(this, categoryName);

    public void Dispose()
    {
    }

    private sealed class Logger(LogCapture owner, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state) where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(
            LogLevel logLevel, EventId eventId, TState state, Exception? exception,
            Func<TState, Exception?, string> formatter) =>
            owner._entries.Enqueue(new(category, logLevel, eventId, formatter(state, exception), exception));
    }
}
