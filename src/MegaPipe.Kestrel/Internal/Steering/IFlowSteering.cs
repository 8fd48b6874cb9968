// Which channel serves which part of the new connections, as those who decide it see it.
namespace MegaPipe.Kestrel.Internal.Steering;

/// <summary>
/// New connections are divided into flow groups by their hash; a table says which channel serves each group. One table
/// for all endpoints of a host. Any thread; calls are put in an order.
/// </summary>
internal interface IFlowSteering
{
    /// <summary>Whether the kernel looks at the table. Otherwise <see cref="Apply"/> only remembers it.</summary>
    bool IsActive { get; }

    /// <summary>
    /// The channel of each group: a power of two of entries, <see cref="FlowProgram.LeastGroups"/> to
    /// <see cref="FlowProgram.MostGroupsFor"/>. In force for every handshake that begins after the call, which takes
    /// some 100 µs for each endpoint: not for each connection. false where the kernel refused it; then the last table
    /// that it took stands.
    /// </summary>
    bool Apply(ReadOnlySpan<ushort> channelOfGroup);
}
