package import Basics

/// What a command did. A refusal is an error, and changes nothing.
public enum RegistryReply: Hashable, Sendable {
    case changed(RegistryResult)
    /// It was as it is; nothing differs.
    case unchanged(RegistryResult)
    /// Not now: again after that time, or once somebody has approved of it.
    case postponed(milliseconds: UInt64, Rejection)
}

/// What a command answers besides that.
public enum RegistryResult: Hashable, Sendable {
    case nothing
    /// Of an agent's checkpointed entries.
    case generation(UInt64)
    /// One for each agent that was named, in order.
    case attached([AttachOutcome])
    case report(ReportResult)
    case lostVolumes([VolumeID])
    case pruned(deleted: [RegistryID], skipped: [RegistryID])
    case framework(id: RegistryID, wasUnknown: Bool)
    case agents([RegistryID])
    case consumption([RoleConsumption])
    /// One for each operation that was asked for, in order.
    case operations([OperationOutcome])
    /// Of a status: whether somebody waits to acknowledge it; else the agent may take it for acknowledged.
    case status(isForwarded: Bool)
    /// How many chunks of an import have come. Done: all of them, or of one that was aborted nothing is left.
    case imported(chunks: UInt64, isDone: Bool)
}

/// Which rule refuses one of several.
public struct Rejection: Hashable, Sendable {
    public var rule: [UInt8]
    public var detail: [UInt8]

    package init(_ refusal: RegistryRefusal) {
        rule = Array(refusal.rule.rawValue.utf8)
        detail = Array(refusal.detail.utf8)
    }
}

public enum AttachOutcome: Hashable, Sendable {
    /// Nothing to send. `drain`: it is being drained.
    case upToDate(generation: UInt64, drain: AgentRow.Drain?)
    /// It has missed something: these are all of its checkpointed entries.
    case behind(generation: UInt64, entries: [Resource], drain: AgentRow.Drain?)
    /// Nobody knows what it has checkpointed: `agentReport`.
    case reportWanted(drain: AgentRow.Drain?)
    case rejected(Rejection)
}

public struct ReportResult: Hashable, Sendable {
    public var generation: UInt64
    /// What is the agent's from now on.
    public var adopted: [Resource]
    /// What only the agent knows: it is written down, and left alone.
    public var orphans: [Resource]
    /// What only the quorum knows: to be checkpointed.
    public var missing: [Resource]

    package init(generation: UInt64 = 0, adopted: [Resource] = [], orphans: [Resource] = [], missing: [Resource] = []) {
        self.generation = generation
        self.adopted = adopted
        self.orphans = orphans
        self.missing = missing
    }
}

public struct VolumeID: Hashable, Sendable {
    public var agentID: RegistryID
    public var role: RoleName
    public var id: RegistryID

    package init(agentID: RegistryID, role: RoleName, id: RegistryID) {
        self.agentID = agentID
        self.role = role
        self.id = id
    }
}

public struct RoleConsumption: Hashable, Sendable {
    public var role: RoleName
    public var quantities: Quantities

    package init(role: RoleName, quantities: Quantities) {
        self.role = role
        self.quantities = quantities
    }
}

public enum OperationOutcome: Hashable, Sendable {
    case done(OperationRow.Outcome)
    case rejected(Rejection)
}

// MARK: - Bytes

extension RegistryReply: RegistryValue {
    /// `u8 0 unchanged: result | 1 changed: result | 2 postponed: u64 ms, rejection`
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .unchanged(let result):
            writer.write(UInt8(0))
            writer.write(result)
        case .changed(let result):
            writer.write(UInt8(1))
            writer.write(result)
        case .postponed(let milliseconds, let rejection):
            writer.write(UInt8(2))
            writer.write(milliseconds)
            writer.write(rejection)
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let form = try reader.readUInt8()
        switch form {
        case 0: self = .unchanged(try reader.readValue())
        case 1: self = .changed(try reader.readValue())
        case 2:
            let milliseconds = try reader.readUInt64()
            self = .postponed(milliseconds: milliseconds, try reader.readValue())
        default: throw .unknown("reply of the registry", UInt64(form))
        }
    }
}

extension RegistryResult: RegistryValue {
    /// `u8 number | fields`
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .nothing: writer.write(UInt8(0))
        case .generation(let generation):
            writer.write(UInt8(1))
            writer.write(generation)
        case .attached(let outcomes):
            writer.write(UInt8(2))
            writer.write(outcomes)
        case .report(let report):
            writer.write(UInt8(3))
            writer.write(report.generation)
            for resources in [report.adopted, report.orphans, report.missing] { writer.write(resources) }
        case .lostVolumes(let volumes):
            writer.write(UInt8(4))
            writer.write(volumes)
        case .pruned(let deleted, let skipped):
            writer.write(UInt8(5))
            writer.write(deleted)
            writer.write(skipped)
        case .framework(let id, let wasUnknown):
            writer.write(UInt8(6))
            writer.write(id)
            writer.write(wasUnknown)
        case .agents(let ids):
            writer.write(UInt8(7))
            writer.write(ids)
        case .consumption(let roles):
            writer.write(UInt8(8))
            writer.write(roles)
        case .operations(let outcomes):
            writer.write(UInt8(9))
            writer.write(outcomes)
        case .status(let isForwarded):
            writer.write(UInt8(10))
            writer.write(isForwarded)
        case .imported(let chunks, let isDone):
            writer.write(UInt8(11))
            writer.write(chunks)
            writer.write(isDone)
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt8()
        switch number {
        case 0: self = .nothing
        case 1: self = .generation(try reader.readUInt64())
        case 2: self = .attached(try reader.readValues())
        case 3:
            let generation = try reader.readUInt64()
            let adopted: [Resource] = try reader.readValues()
            let orphans: [Resource] = try reader.readValues()
            self = .report(
                ReportResult(
                    generation: generation, adopted: adopted, orphans: orphans, missing: try reader.readValues()))
        case 4: self = .lostVolumes(try reader.readValues())
        case 5:
            let deleted: [RegistryID] = try reader.readValues()
            self = .pruned(deleted: deleted, skipped: try reader.readValues())
        case 6:
            let id: RegistryID = try reader.readValue()
            self = .framework(id: id, wasUnknown: try reader.readBool())
        case 7: self = .agents(try reader.readValues())
        case 8: self = .consumption(try reader.readValues())
        case 9: self = .operations(try reader.readValues())
        case 10: self = .status(isForwarded: try reader.readBool())
        case 11:
            let chunks = try reader.readUInt64()
            self = .imported(chunks: chunks, isDone: try reader.readBool())
        default: throw .unknown("result", UInt64(number))
        }
    }
}

extension RegistryID: RegistryValue {
    package func encode(into writer: inout ByteWriter) { writer.writeBytes16(bytes) }
    package init(decoding reader: inout ByteReader) throws(DecodeError) { self.init(unchecked: try reader.readText()) }
}

extension RoleName: RegistryValue {
    package func encode(into writer: inout ByteWriter) { writer.writeBytes16(bytes) }
    package init(decoding reader: inout ByteReader) throws(DecodeError) { self.init(unchecked: try reader.readText()) }
}

extension Rejection: RegistryValue {
    /// `text rule | text detail`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(rule)
        writer.writeBytes16(detail)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        rule = try reader.readText()
        detail = try reader.readText()
    }
}

extension AttachOutcome: RegistryValue {
    /// `u8 1 up to date: u64 generation, drain? | 2 behind: u64 generation, resources, drain? | 3 report wanted: drain?
    /// | 4 rejection`
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .upToDate(let generation, let drain):
            writer.write(UInt8(1))
            writer.write(generation)
            writer.write(drain)
        case .behind(let generation, let entries, let drain):
            writer.write(UInt8(2))
            writer.write(generation)
            writer.write(entries)
            writer.write(drain)
        case .reportWanted(let drain):
            writer.write(UInt8(3))
            writer.write(drain)
        case .rejected(let rejection):
            writer.write(UInt8(4))
            writer.write(rejection)
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt8()
        switch number {
        case 1:
            let generation = try reader.readUInt64()
            self = .upToDate(generation: generation, drain: try reader.readOptionalValue())
        case 2:
            let generation = try reader.readUInt64()
            let entries: [Resource] = try reader.readValues()
            self = .behind(generation: generation, entries: entries, drain: try reader.readOptionalValue())
        case 3: self = .reportWanted(drain: try reader.readOptionalValue())
        case 4: self = .rejected(try reader.readValue())
        default: throw .unknown("outcome of an agent", UInt64(number))
        }
    }
}

extension VolumeID: RegistryValue {
    /// `text agent | text role | text id`
    package func encode(into writer: inout ByteWriter) {
        writer.write(agentID)
        writer.write(role)
        writer.write(id)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        agentID = try reader.readValue()
        role = try reader.readValue()
        id = try reader.readValue()
    }
}

extension RoleConsumption: RegistryValue {
    /// `text role | quantities`
    package func encode(into writer: inout ByteWriter) {
        writer.write(role)
        writer.write(quantities)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        role = try reader.readValue()
        quantities = try reader.readValue()
    }
}

extension OperationOutcome: RegistryValue {
    /// `u8 1 done: outcome | 2 rejection`
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .done(let outcome):
            writer.write(UInt8(1))
            writer.write(outcome)
        case .rejected(let rejection):
            writer.write(UInt8(2))
            writer.write(rejection)
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt8()
        switch number {
        case 1: self = .done(try reader.readValue())
        case 2: self = .rejected(try reader.readValue())
        default: throw .unknown("outcome of an operation", UInt64(number))
        }
    }
}
