package import Basics

/// A part of a registry that is imported as a whole. Parts come in the order of the cases, documents anywhere, so that
/// each finds what it rests on. `extra` is what the document said besides, as JSON: the members that this release does
/// not know; under the empty name those of objects within, and lists that were written in another way. Empty: nothing.
public enum ImportRecord: Hashable, Sendable {
    /// The master that led before; it is kept until one takes over.
    case master(MasterInfo)
    case quota(QuotaConfig, extra: [UInt8])
    case legacyQuota(LegacyQuota)
    case weight(Weight)
    /// There is a schedule, with windows or without.
    case schedule
    /// The next window of the schedule, and its first machines.
    case window(Unavailability, [ImportedMachine], extra: [UInt8])
    /// Further machines of the last window.
    case machines([ImportedMachine])
    /// Admitted; it has not attached to this registry.
    case agent(AgentClaim, ImportedStanding)
    /// - Parameter since: since 1970, in ns.
    case unreachable(id: [UInt8], since: UInt64, ImportedStanding)
    case gone(id: [UInt8], since: UInt64, extra: [UInt8])
    case provider(id: [UInt8], ProviderRow)
    case capability(MinimumCapability)
    /// A member of the document that this release does not know; or what it does not know of one that holds others.
    case document(name: [UInt8], json: [UInt8])

    /// Resources that an imported agent may state. They are compared with each other.
    public static let resourcesMax = 1_024
    /// Names of capabilities and of members of the document, in bytes.
    public static let nameSizeMax = 255
    /// Machines of one record.
    public static let machinesMax = 256
    /// A record, in bytes.
    public static let sizeMax = RegistryCommand.importSizeMax - 1_024

    /// The records in pieces of which each fits one `importChunk`, always the same for the same records; one at least.
    public static func chunks(of records: [ImportRecord]) -> [[ImportRecord]] {
        var chunks: [[ImportRecord]] = [[]]
        var size = 0
        for record in records {
            let own = record.encoded().count
            if size + own > sizeMax, size > 0 {
                chunks.append([])
                size = 0
            }
            chunks[chunks.count - 1].append(record)
            size += own
        }
        return chunks
    }

    /// Whether it fits a chunk.
    public var hasRoom: Bool { encoded().count <= Self.sizeMax }
}

/// What an imported agent is at.
public struct ImportedStanding: Hashable, Sendable {
    public var isDeactivated: Bool
    public var drain: AgentRow.Drain?
    public var extra: [UInt8]

    public init(isDeactivated: Bool = false, drain: AgentRow.Drain? = nil, extra: [UInt8] = []) {
        self.isDeactivated = isDeactivated
        self.drain = drain
        self.extra = extra
    }
}

/// A machine of the schedule.
public struct ImportedMachine: Hashable, Sendable {
    /// As the window spells it.
    public var scheduled: MachineID
    /// As the list of machines spells it.
    public var id: MachineID
    public var mode: MachineRow.Mode
    public var unavailability: Unavailability
    public var extra: [UInt8]

    public init(
        scheduled: MachineID, id: MachineID, mode: MachineRow.Mode, unavailability: Unavailability, extra: [UInt8] = []
    ) {
        self.scheduled = scheduled
        self.id = id
        self.mode = mode
        self.unavailability = unavailability
        self.extra = extra
    }
}

/// Quota in the form that Mesos had before 1.9: what is guaranteed is the limit, too.
public struct LegacyQuota: Hashable, Sendable {
    public var role: [UInt8]
    public var principal: [UInt8]?
    public var guarantee: [ResourceClaim]
    public var extra: [UInt8]

    public init(role: [UInt8], principal: [UInt8]? = nil, guarantee: [ResourceClaim], extra: [UInt8] = []) {
        self.role = role
        self.principal = principal
        self.guarantee = guarantee
        self.extra = extra
    }

    /// - Throws: `quota.role-missing`, `role.*`, `quota.legacy-empty`, `quota.legacy-field`, `quota.legacy-duplicate`,
    ///   `resource.*` (also of the list), `scalar.*`.
    package func checked() throws(RegistryRefusal) -> (role: RoleName, quota: LegacyQuotaRow) {
        guard !role.isEmpty else { throw RegistryRefusal(.quotaRoleMissing, "a quota without a role") }
        let role = try RoleName(role)
        guard !guarantee.isEmpty else { throw RegistryRefusal(.quotaLegacyEmpty, "\(role): nothing is guaranteed") }
        try ResourceList.checkCount(guarantee.count)
        var row = LegacyQuotaRow(principal: principal, extra: extra)
        for claim in guarantee {
            guard claim.isPlainAmount else {
                throw RegistryRefusal(
                    .quotaLegacyField,
                    "\(role): \(text(claim.name)) has to be an amount, and not reserved, revocable or of a certain disk")
            }
            let resource = try claim.checked()
            guard row.guarantee[resource.name] == nil else {
                throw RegistryRefusal(.quotaLegacyDuplicate, "\(role): \(text(resource.name)) is there twice")
            }
            row.guarantee.set(try resource.value.quantity(), of: resource.name, keepingZero: true)
        }
        return (role, row)
    }
}

extension ResourceClaim {
    fileprivate var isPlainAmount: Bool {
        type == .scalar && disk == nil && !isRevocable && !isShared && providerID == nil && allocationRole == nil
            && reservations.isEmpty && formerReservation == nil
            && (formerRole ?? RoleName.any.bytes) == RoleName.any.bytes
    }
}

public struct LegacyQuotaRow: Hashable, Sendable {
    public var principal: [UInt8]?
    public var guarantee: Quantities
    /// As in `ImportRecord`.
    public var extra: [UInt8]

    public init(principal: [UInt8]? = nil, guarantee: Quantities = .none, extra: [UInt8] = []) {
        self.principal = principal
        self.guarantee = guarantee
        self.extra = extra
    }

    /// What it comes to.
    public var quota: QuotaRow {
        var quota = QuotaRow()
        quota.guarantees = guarantee
        quota.limits = guarantee
        return quota
    }
}

/// How far an import is. Nothing else is changed before it is whole, or nothing of it is left.
public struct ImportProgress: Hashable, Sendable {
    public enum State: UInt8, Hashable, Sendable, CaseIterable {
        /// Not all has come.
        case coming = 0
        /// Not all was deleted again.
        case aborting = 1
        /// All has come; it is remembered for whoever did not hear of it.
        case whole = 2
    }

    /// Who imports the same again goes on with it.
    public var id: [UInt8]
    /// That have come.
    public var chunks: UInt64
    public var state: State

    public init(id: [UInt8], chunks: UInt64, state: State = .coming) {
        self.id = id
        self.chunks = chunks
        self.state = state
    }

    public var isAborting: Bool { state == .aborting }
}

// MARK: - Bytes

extension ImportRecord: RegistryValue {
    /// `u8 number | fields`
    package func encode(into writer: inout ByteWriter) {
        switch self {
        case .master(let info):
            writer.write(UInt8(1))
            writer.write(info)
        case .quota(let config, let extra):
            writer.write(UInt8(2))
            writer.write(config)
            writer.writeBytes16(extra)
        case .legacyQuota(let quota):
            writer.write(UInt8(3))
            writer.write(quota)
        case .weight(let weight):
            writer.write(UInt8(4))
            writer.write(weight)
        case .schedule: writer.write(UInt8(5))
        case .window(let unavailability, let machines, let extra):
            writer.write(UInt8(6))
            writer.write(unavailability)
            writer.write(machines)
            writer.writeBytes16(extra)
        case .machines(let machines):
            writer.write(UInt8(7))
            writer.write(machines)
        case .agent(let agent, let standing):
            writer.write(UInt8(8))
            writer.write(agent)
            writer.write(standing)
        case .unreachable(let id, let since, let standing):
            writer.write(UInt8(9))
            writer.writeBytes16(id)
            writer.write(since)
            writer.write(standing)
        case .gone(let id, let since, let extra):
            writer.write(UInt8(10))
            writer.writeBytes16(id)
            writer.write(since)
            writer.writeBytes16(extra)
        case .provider(let id, let row):
            writer.write(UInt8(11))
            writer.writeBytes16(id)
            writer.write(row)
        case .capability(let capability):
            writer.write(UInt8(12))
            writer.writeBytes16(capability.name)
            writer.writeBytes16(capability.extra)
        case .document(let name, let json):
            writer.write(UInt8(13))
            writer.writeBytes16(name)
            writer.writeBytes32(json)
        }
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        let number = try reader.readUInt8()
        switch number {
        case 1: self = .master(try reader.readValue())
        case 2:
            let config: QuotaConfig = try reader.readValue()
            self = .quota(config, extra: try reader.readText())
        case 3: self = .legacyQuota(try reader.readValue())
        case 4: self = .weight(try reader.readValue())
        case 5: self = .schedule
        case 6:
            let unavailability: Unavailability = try reader.readValue()
            let machines: [ImportedMachine] = try reader.readValues()
            self = .window(unavailability, machines, extra: try reader.readText())
        case 7: self = .machines(try reader.readValues())
        case 8:
            let agent: AgentClaim = try reader.readValue()
            self = .agent(agent, try reader.readValue())
        case 9:
            let id = try reader.readText()
            let since = try reader.readUInt64()
            self = .unreachable(id: id, since: since, try reader.readValue())
        case 10:
            let id = try reader.readText()
            let since = try reader.readUInt64()
            self = .gone(id: id, since: since, extra: try reader.readText())
        case 11:
            let id = try reader.readText()
            self = .provider(id: id, try reader.readValue())
        case 12:
            let name = try reader.readText()
            self = .capability(MinimumCapability(name: name, extra: try reader.readText()))
        case 13:
            let name = try reader.readText()
            self = .document(name: name, json: [UInt8](try reader.readBytes32(max: Self.sizeMax)))
        default: throw .unknown("record of an import", UInt64(number))
        }
    }
}

extension ImportedStanding: RegistryValue {
    /// `u8 deactivated | drain? | text extra`
    package func encode(into writer: inout ByteWriter) {
        writer.write(isDeactivated)
        writer.write(drain)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        isDeactivated = try reader.readBool()
        drain = try reader.readOptionalValue()
        extra = try reader.readText()
    }
}

extension ImportedMachine: RegistryValue {
    /// `id in the window | id | u8 mode | unavailability | text extra`
    package func encode(into writer: inout ByteWriter) {
        writer.write(scheduled)
        writer.write(id)
        writer.write(mode.rawValue)
        writer.write(unavailability)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        scheduled = try reader.readValue()
        id = try reader.readValue()
        mode = try reader.readNumber("mode of a machine")
        unavailability = try reader.readValue()
        extra = try reader.readText()
    }
}

extension LegacyQuota: RegistryValue {
    /// `text role | text? principal | resources | text extra`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(role)
        writer.write(optional: principal)
        writer.write(guarantee)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        role = try reader.readText()
        principal = try reader.readOptionalText()
        guarantee = try reader.readValues()
        extra = try reader.readText()
    }
}

extension LegacyQuotaRow: RegistryValue {
    /// `text? principal | quantities | text extra`
    package func encode(into writer: inout ByteWriter) {
        writer.write(optional: principal)
        writer.write(guarantee)
        writer.writeBytes16(extra)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        principal = try reader.readOptionalText()
        guarantee = try reader.readValue()
        extra = try reader.readText()
    }
}

extension ImportProgress: RegistryValue {
    /// `text id | u64 chunks | u8 state`
    package func encode(into writer: inout ByteWriter) {
        writer.writeBytes16(id)
        writer.write(chunks)
        writer.write(state.rawValue)
    }

    package init(decoding reader: inout ByteReader) throws(DecodeError) {
        id = try reader.readText()
        chunks = try reader.readUInt64()
        state = try reader.readNumber("state of an import")
    }
}
