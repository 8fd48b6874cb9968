// For tests that need a user of their own.
namespace MegaPipe.Kestrel.Tests.Support;

public sealed class RootTheoryAttribute : TheoryAttribute
{
    public RootTheoryAttribute() =>
        Skip = Environment.IsPrivilegedProcess ? null : "only root can become a user who has no other threads";
}
