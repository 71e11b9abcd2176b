package import Basics

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

    /// All resources that it names.
    public var claims: [ResourceClaim] {
        switch self {
        case .reserve(let resources, let source): resources + (source ?? [])
        case .unreserve(let resources), .create(let resources), .destroy(let resources): resources
        case .growVolume(let volume, let addition): [volume, addition]
        case .shrinkVolume(let volume, _): [volume]
        }
    }

    /// `u8 form`, then
    ///
    ///     1 reserve   list of claims | list of claims?      2 unreserve, 3 create, 4 destroy   list of claims
    ///     5 grow      claim | claim                         6 shrink    claim | u64 bits of a double
    package func encode(into writer: inout ByteWriter) {
        func write(_ form: UInt8, _ claims: [ResourceClaim]) {
            writer.write(form)
            writer.write(list: claims) { $0.encode(into: &$1) }
        }
        switch self {
        case .reserve(let resources, let source):
            write(1, resources)
            writer.write(optional: source) { source, writer in writer.write(list: source) { $0.encode(into: &$1) } }
        case .unreserve(let resources): write(2, resources)
        case .create(let volumes): write(3, volumes)
        case .destroy(let volumes): write(4, volumes)
        case .growVolume(let volume, let addition):
            writer.write(UInt8(5))
            volume.encode(into: &writer)
            addition.encode(into: &writer)
        case .shrinkVolume(let volume, let subtract):
            writer.write(UInt8(6))
            volume.encode(into: &writer)
            writer.write(subtract.bitPattern)
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let form = try reader.readUInt8()
        switch form {
        case 1:
            let resources = try reader.readClaims()
            let source = try reader.readOptional { (reader) throws(DecodeError) in try reader.readClaims() }
            self = .reserve(resources, source: source)
        case 2: self = .unreserve(try reader.readClaims())
        case 3: self = .create(try reader.readClaims())
        case 4: self = .destroy(try reader.readClaims())
        case 5:
            let volume = try ResourceClaim(decoding: &reader)
            self = .growVolume(volume, addition: try ResourceClaim(decoding: &reader))
        case 6:
            let volume = try ResourceClaim(decoding: &reader)
            self = .shrinkVolume(volume, subtract: Double(bitPattern: try reader.readUInt64()))
        default: throw .unknown("operation", UInt64(form))
        }
    }
}

extension ByteReader {
    @_lifetime(self: copy self)
    package mutating func readClaims() throws(DecodeError) -> [ResourceClaim] {
        try readList { (reader) throws(DecodeError) in try ResourceClaim(decoding: &reader) }
    }
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

    /// As Mesos writes them.
    public static let names: [(AgentCapabilities, String)] = [
        (.multiRole, "MULTI_ROLE"), (.hierarchicalRole, "HIERARCHICAL_ROLE"),
        (.reservationRefinement, "RESERVATION_REFINEMENT"), (.resourceProvider, "RESOURCE_PROVIDER"),
        (.resizeVolume, "RESIZE_VOLUME"), (.agentOperationFeedback, "AGENT_OPERATION_FEEDBACK"),
        (.agentDraining, "AGENT_DRAINING"), (.taskResourceLimits, "TASK_RESOURCE_LIMITS"),
    ]
}
