package import Basics

/// The tables of the registry: the first byte of a row's key. Numbers are for ever.
public enum RegistryTable: UInt8, Hashable, Sendable, CaseIterable {
    /// Once: `RegistryRow`.
    case registry = 1
    /// `agent id`: `AgentRow`.
    case agents = 2
    /// `agent id`: `AgentInfo`.
    case agentInfo = 3
    /// `agent id 00 | entry key`: `Resource`.
    case entries = 4
    /// `agent id 00 | framework id 00 | hold id`: `HoldRow`.
    case holds = 5
    /// `agent id 00 | uuid`: `OperationRow`.
    case operations = 6
    /// `framework id`: `FrameworkRow`.
    case frameworks = 7
    /// `role`: `QuotaRow`.
    case quotas = 8
    /// `role`: `Weight`.
    case weights = 9
    /// `u16 size, role | resource name`: u64 thousandths that the role and those below it use up.
    case consumption = 10
    /// `resource name`: u64 thousandths that admitted agents have.
    case capacity = 11
    /// `MachineID`: `MachineRow`.
    case machines = 12
    /// `u32 number, big-endian`: `MaintenanceWindow`.
    case windows = 13
    /// `provider id`: `ProviderRow`.
    case providers = 14
    /// `name`: what an imported document said besides, at least `{}`; nothing: it was not imported.
    case capabilities = 15
    /// `agent id 00 | u16 size, role | persistence id`: `Resource`.
    case lostVolumes = 16
    /// `agent id 00 | entry key`: `Resource` that only the agent knows of.
    case orphans = 17
    /// Once: `RateLimits`.
    case rateLimits = 18
    /// `role`: `LegacyQuotaRow`.
    case legacyQuotas = 19
    /// `name`: JSON, of an imported document: a member that nobody here knows, or what it said besides of a known one.
    case documents = 20

    // Indexes.

    /// `u8 state | u64 arrival, big-endian | agent id`: nothing.
    case agentsByState = 32
    /// `u16 size, MachineID | agent id`: nothing.
    case agentsByMachine = 33
    /// `u16 size, role | agent id 00 | entry key`: nothing.
    case reservationsByRole = 34
    /// `agent id 00 | u16 size, role | persistence id`: the entry key.
    case volumes = 35
    /// `framework id 00 | agent id 00 | hold id`: nothing.
    case holdsByFramework = 36
    /// `framework id 00 | agent id 00 | uuid`: nothing.
    case operationsByFramework = 37
    /// `framework id 00 | operation id`: `agent id 00 | uuid`.
    case operationNames = 38
    /// `u64 cluster time, ns, big-endian | u8 1 framework, 2 operation | key`: nothing. What is due then.
    case timers = 39
}

/// Where rows stand.
package struct RegistryKey: Sendable {
    package private(set) var bytes: [UInt8]

    package init(_ table: RegistryTable) { bytes = [table.rawValue] }

    package func adding(_ part: [UInt8]) -> RegistryKey {
        var key = self
        key.bytes += part
        return key
    }

    /// Behind which something else stands: ids hold no byte 0.
    package func adding(_ id: RegistryID) -> RegistryKey { adding(id.bytes + [0]) }

    package func adding(sized part: [UInt8]) -> RegistryKey {
        adding([UInt8(truncatingIfNeeded: part.count >> 8), UInt8(truncatingIfNeeded: part.count)] + part)
    }

    package func adding<Number: FixedWidthInteger>(_ number: Number) -> RegistryKey {
        let size = Number.bitWidth / 8
        return adding((0..<size).map { UInt8(truncatingIfNeeded: number >> (8 * (size - 1 - $0))) })
    }

    /// When a timer is due: cluster time, ns.
    package static func time(ofTimer key: [UInt8]) -> UInt64 {
        key.dropFirst().prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    package static func agent(_ id: RegistryID) -> [UInt8] { RegistryKey(.agents).adding(id.bytes).bytes }
    package static func agentInfo(_ id: RegistryID) -> [UInt8] { RegistryKey(.agentInfo).adding(id.bytes).bytes }
    package static func framework(_ id: RegistryID) -> [UInt8] { RegistryKey(.frameworks).adding(id.bytes).bytes }
    package static func entries(of agent: RegistryID) -> RegistryKey { RegistryKey(.entries).adding(agent) }
    package static func holds(of agent: RegistryID) -> RegistryKey { RegistryKey(.holds).adding(agent) }
    package static func operations(of agent: RegistryID) -> RegistryKey { RegistryKey(.operations).adding(agent) }
}

/// Takes a key apart again.
package struct RegistryKeyParts {
    private var rest: ArraySlice<UInt8>

    /// - Parameter count: of bytes of the key that are known already.
    package init(_ key: [UInt8], after count: Int) { rest = key[min(count, key.count)...] }

    /// Up to the byte 0 behind it.
    package mutating func id() throws(DecodeError) -> RegistryID {
        guard let end = rest.firstIndex(of: 0) else { throw .truncated }
        defer { rest = rest[(end + 1)...] }
        return RegistryID(unchecked: Array(rest[..<end]))
    }

    /// What stands behind its size.
    package mutating func sized() throws(DecodeError) -> [UInt8] {
        let head = rest.prefix(2)
        guard head.count == 2 else { throw .truncated }
        let size = head.reduce(0) { $0 << 8 | Int($1) }
        guard rest.count >= 2 + size else { throw .truncated }
        defer { rest = rest.dropFirst(2 + size) }
        return Array(rest.dropFirst(2).prefix(size))
    }

    package mutating func takeRest() -> [UInt8] {
        defer { rest = rest[rest.endIndex...] }
        return Array(rest)
    }
}
