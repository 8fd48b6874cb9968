// What the runs of a reader's and of a writer's steps have in common: the calls one by one, each compared and noted.
using MegaPipe.Kestrel.Internal.Channels;

namespace MegaPipe.Kestrel.Tests.Pipes.Differential;

/// <summary>The token that a call gets.</summary>
internal enum TokenKind
{
    None,
    Live,
    Canceled,
}

internal abstract class StepRun(StepChannel channel)
{
    private readonly List<string> _log = [];
    private CancellationTokenSource? _source;

    /// <summary>Makes the calls; throws at the first difference, with everything done until then.</summary>
    protected void MakeAll<TStep>(TStep[] steps, Action<TStep> make)
    {
        channel.Carried.Board(0);
        try
        {
            foreach (TStep step in steps)
            {
                _log.Add($"{step}");
                make(step);
                Settle();
            }

            _log.Add("the end");
            Finish();
            _source?.Dispose();
        }
        catch (Exception e)
        {
            throw new DifferenceException(string.Join(Environment.NewLine, _log), e);
        }
        finally
        {
            Clear();
            TransportChannel.Leave();
        }
    }

    /// <summary>After each call: what it has set going comes to its end on both sides.</summary>
    protected abstract void Settle();

    /// <summary>Ends both sides, and sees that nothing is left.</summary>
    protected abstract void Finish();

    /// <summary>Also after a difference: the channel serves the next sequence, too.</summary>
    protected virtual void Clear()
    {
    }

    protected void CancelToken() => _source?.Cancel();

    protected CancellationToken Token(TokenKind kind)
    {
        switch (kind)
        {
            case TokenKind.None:
                return default;
            case TokenKind.Canceled:
                return new CancellationToken(canceled: true);
            default:
                if (_source is null || _source.IsCancellationRequested)
                {
                    _source = new CancellationTokenSource();
                }

                return _source.Token;
        }
    }

    protected void Both(Action reference, Action subject) =>
        Equal(Outcome.Of(reference), Outcome.Of(subject), "the call");

    protected void Equal<T>(T expected, T actual, string what)
    {
        _log.Add($"    {what}: {expected}");
        if (!EqualityComparer<T>.Default.Equals(expected, actual))
        {
            throw new InvalidOperationException($"{what}: {expected} at the standard pipe, {actual} at ours");
        }
    }
}

/// <summary>Where a run differed, and what led there.</summary>
internal sealed class DifferenceException(string log, Exception inner)
    : Exception($"{inner.Message}{Environment.NewLine}{log}", inner);
