// What the application was doing on a thread, in words that a team knows its code by.
using System.Diagnostics;

namespace MegaPipe.Kestrel.Internal.Diagnostics;

/// <summary>A connection, or the request above it.</summary>
internal interface IDescribedWork
{
    /// <summary>Any thread, also while the work goes on. null: nothing is to be said at this moment.</summary>
    WorkDescription? Describe();
}

/// <summary>
/// Names of bounded number: a route and never a path, a protocol and never a peer. What is equal in them is one row.
/// </summary>
/// <param name="Protocol">Of the request (HTTP/1.1), or of the connection where none is known.</param>
/// <param name="Method">HTTP method, <c>_OTHER</c> for an unknown one; null without a request.</param>
/// <param name="Route">Pattern of the endpoint's route; null without one.</param>
/// <param name="Name">Display name of the endpoint; without a request the connection's endpoint.</param>
internal sealed record WorkDescription(string Protocol, string? Method, string? Route, string Name)
{
    /// <summary>The request's activity, if it has one. No part of the row.</summary>
    public ActivityContext Parent { get; init; }

    /// <summary>Short, for lists and messages.</summary>
    public string Title => Method is null ? $"{Name} ({Protocol})" : $"{Method} {Route ?? Name}";

    public bool Equals(WorkDescription? other) => other is not null && Protocol == other.Protocol &&
        Method == other.Method && Route == other.Route && Name == other.Name;

    public override int GetHashCode() => HashCode.Combine(Protocol, Method, Route, Name);
}
