/// What an operation does to the resources of one agent.
public enum OperationKind: Hashable, Sendable {
    /// Pushes one level onto each stack; with `source`, replaces these by the resources, whatever their stacks.
    case reserve(_ resources: [ResourceClaim], source: [ResourceClaim]? = nil)
    /// Takes the uppermost level away.
    case unreserve(_ resources: [ResourceClaim])
    case create(_ volumes: [ResourceClaim])
    case destroy(_ volumes: [ResourceClaim])
    case growVolume(_ volume: ResourceClaim, addition: ResourceClaim)
    case shrinkVolume(_ volume: ResourceClaim, subtract: Double)
}

/// What an agent's release can do.
public struct AgentCapabilities: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    public static let multiRole = AgentCapabilities(rawValue: 1)
    public static let hierarchicalRole = AgentCapabilities(rawValue: 2)
    public static let reservationRefinement = AgentCapabilities(rawValue: 4)
    public static let resourceProvider = AgentCapabilities(rawValue: 8)
    public static let resizeVolume = AgentCapabilities(rawValue: 16)
    public static let agentOperationFeedback = AgentCapabilities(rawValue: 32)
    public static let agentDraining = AgentCapabilities(rawValue: 64)
    public static let taskResourceLimits = AgentCapabilities(rawValue: 128)
}
