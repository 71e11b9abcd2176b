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

/// An operation as it is asked for.
public struct OperationRequest: Hashable, Sendable {
    public var agentID: [UInt8]
    /// On whose behalf; nil: an operator's.
    public var frameworkID: [UInt8]?
    /// Who authenticated; nil: nobody did.
    public var principal: [UInt8]?
    /// 16 bytes that no other operation on the agent has: carried out once, however often it is asked for.
    public var uuid: [UInt8]
    /// The framework's name for it; nil: it does not want to hear of it.
    public var operationID: [UInt8]?
    /// The release of the resources that it was made for; nil: any.
    public var resourceVersion: [UInt8]?
    public var kind: OperationKind

    public init(
        agentID: [UInt8], frameworkID: [UInt8]? = nil, principal: [UInt8]? = nil, uuid: [UInt8],
        operationID: [UInt8]? = nil, resourceVersion: [UInt8]? = nil, kind: OperationKind
    ) {
        self.agentID = agentID
        self.frameworkID = frameworkID
        self.principal = principal
        self.uuid = uuid
        self.operationID = operationID
        self.resourceVersion = resourceVersion
        self.kind = kind
    }

    public static let uuidSize = 16

    /// Tells one that is asked for again from another under the same uuid.
    package var digest: [UInt8] { CheckpointDigest.sha256(encoded()) }
}

public enum OperationState: UInt8, Hashable, Sendable, CaseIterable {
    case pending = 1
    case unreachable = 2
    case finished = 3
    case failed = 4
    case error = 5
    case dropped = 6
    case goneByOperator = 7
    // In answers only.
    case recovering = 8
    case unknown = 9
    case unsupported = 10

    public var isTerminal: Bool {
        switch self {
        case .finished, .failed, .error, .dropped, .goneByOperator: true
        case .pending, .unreachable, .recovering, .unknown, .unsupported: false
        }
    }
}

/// What somebody says of an operation.
public struct OperationStatus: Hashable, Sendable {
    public var state: OperationState
    /// It waits for an acknowledgement of this one. Nil: of none.
    public var uuid: [UInt8]?
    public var message: [UInt8]

    public init(state: OperationState, uuid: [UInt8]? = nil, message: [UInt8] = []) {
        self.state = state
        self.uuid = uuid
        self.message = message
    }
}

/// What is stored of an operation, for as long as somebody may ask for it.
public struct OperationRow: Hashable, Sendable {
    /// What its reply says.
    public struct Outcome: Hashable, Sendable {
        /// Of the agent's checkpointed entries, after it.
        public var generation: UInt64
        public var converted: [Resource]

        public init(generation: UInt64, converted: [Resource]) {
            self.generation = generation
            self.converted = converted
        }
    }

    public var frameworkID: RegistryID?
    public var operationID: RegistryID?
    public var providerID: RegistryID?
    /// Of its request.
    public var digest: [UInt8]
    public var consumed: [Resource]
    public var outcome: Outcome
    public var latestState: OperationState
    public var statuses: [OperationStatus]
    public var acknowledged: [[UInt8]]
    /// Its framework is over.
    public var isOrphan: Bool
    /// The agent could not do it, and somebody uses already what it brought.
    public var isUndoBlocked: Bool
    /// Cluster time, ns: nothing is left of it but what answers whoever asks for it again. Nil: it is open.
    public var endedAt: UInt64?

    public init(
        frameworkID: RegistryID?, operationID: RegistryID?, providerID: RegistryID?, digest: [UInt8],
        consumed: [Resource],
        outcome: Outcome
    ) {
        self.frameworkID = frameworkID
        self.operationID = operationID
        self.providerID = providerID
        self.digest = digest
        self.consumed = consumed
        self.outcome = outcome
        latestState = .pending
        statuses = []
        acknowledged = []
        isOrphan = false
        isUndoBlocked = false
        endedAt = nil
    }

    public var isOpen: Bool { endedAt == nil }
}

// MARK: - Bytes

extension OperationKind: RegistryValue {
    /// `u8 1 reserve: claims, u8 has source, claims | 2 unreserve: claims | 3 create: claims | 4 destroy: claims
    /// | 5 grow: claim, claim | 6 shrink: claim, u64 bits of a double`
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .reserve(let resources, let source):
            writer.write(UInt8(1))
            writer.write(resources)
            writer.write(optional: source) { $1.write($0) }
        case .unreserve(let resources):
            writer.write(UInt8(2))
            writer.write(resources)
        case .create(let volumes):
            writer.write(UInt8(3))
            writer.write(volumes)
        case .destroy(let volumes):
            writer.write(UInt8(4))
            writer.write(volumes)
        case .growVolume(let volume, let addition):
            writer.write(UInt8(5))
            writer.write(volume)
            writer.write(addition)
        case .shrinkVolume(let volume, let subtract):
            writer.write(UInt8(6))
            writer.write(volume)
            writer.write(double: subtract)
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let form = try reader.readUInt8()
        switch form {
        case 1:
            let resources: [ResourceClaim] = try reader.readValues()
            let source: [ResourceClaim]? = try reader.readOptional { (reader) throws(DecodeError) in
                try reader.readValues()
            }
            self = .reserve(resources, source: source)
        case 2: self = .unreserve(try reader.readValues())
        case 3: self = .create(try reader.readValues())
        case 4: self = .destroy(try reader.readValues())
        case 5:
            let volume: ResourceClaim = try reader.readValue()
            self = .growVolume(volume, addition: try reader.readValue())
        case 6:
            let volume: ResourceClaim = try reader.readValue()
            self = .shrinkVolume(volume, subtract: try reader.readDouble())
        default: throw .unknown("operation", UInt64(form))
        }
    }
}

extension OperationRequest: RegistryValue {
    /// `text agent | text? framework | text? principal | text uuid | text? operation id | text? resource version |
    /// kind`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(agentID)
        writer.write(optional: frameworkID)
        writer.write(optional: principal)
        writer.writeBytes16(uuid)
        writer.write(optional: operationID)
        writer.write(optional: resourceVersion)
        writer.write(kind)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        agentID = try reader.readText()
        frameworkID = try reader.readOptionalText()
        principal = try reader.readOptionalText()
        uuid = try reader.readText()
        operationID = try reader.readOptionalText()
        resourceVersion = try reader.readOptionalText()
        kind = try reader.readValue()
    }
}

extension OperationStatus: RegistryValue {
    /// `u8 state | text? uuid | text message`
    package func encode(into writer: inout ByteWriter) {
        writer.write(state.rawValue)
        writer.write(optional: uuid)
        writer.writeBytes16(message)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        state = try reader.readNumber("state of an operation")
        uuid = try reader.readOptionalText()
        message = try reader.readText()
    }
}

extension OperationRow.Outcome: RegistryValue {
    /// `u64 generation | resources`
    package func encode(into writer: inout ByteWriter) {
        writer.write(generation)
        writer.write(converted)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        generation = try reader.readUInt64()
        converted = try reader.readValues()
    }
}

extension OperationRow: RegistryValue {
    /// `text? framework | text? operation id | text? provider | text digest | resources consumed | outcome | u8 latest
    /// state | statuses | texts acknowledged | u8 flags: 1 orphan, 2 undo blocked | u64? ended at, ns`
    package func encode(into writer: inout ByteWriter) {
        writer.write(frameworkID)
        writer.write(operationID)
        writer.write(providerID)
        writer.writeBytes16(digest)
        writer.write(consumed)
        writer.write(outcome)
        writer.write(latestState.rawValue)
        writer.write(statuses)
        writer.write(texts: acknowledged)
        writer.write(UInt8((isOrphan ? 1 : 0) | (isUndoBlocked ? 2 : 0)))
        writer.write(optional: endedAt)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        frameworkID = try reader.readOptionalValue()
        operationID = try reader.readOptionalValue()
        providerID = try reader.readOptionalValue()
        digest = try reader.readText()
        consumed = try reader.readValues()
        outcome = try reader.readValue()
        latestState = try reader.readNumber("state of an operation")
        statuses = try reader.readValues()
        acknowledged = try reader.readTexts()
        let flags = try reader.readUInt8()
        guard flags & ~3 == 0 else { throw .invalid("flags of an operation") }
        isOrphan = flags & 1 != 0
        isUndoBlocked = flags & 2 != 0
        endedAt = try reader.readOptionalUInt64()
    }
}
