package import Basics

/// A row of the registry, as whoever reads or watches it sees it. Indexes are not among them: what they say stands in the
/// rows that they are of.
public enum RegistryRecord: Hashable, Sendable {
    case registry(RegistryRow)
    case agent(RegistryID, AgentRow)
    case agentInfo(RegistryID, AgentInfo)
    case entry(agent: RegistryID, LedgerEntry)
    case hold(agent: RegistryID, framework: RegistryID, id: [UInt8], HoldRow)
    case operation(agent: RegistryID, uuid: [UInt8], OperationRow)
    case framework(RegistryID, FrameworkRow)
    case quota(RoleName, QuotaRow)
    case weight(Weight)
    /// What the role, and those below it, use up of a resource.
    case consumption(RoleName, resource: [UInt8], Scalar)
    /// What all admitted agents have of a resource.
    case capacity(resource: [UInt8], Scalar)
    case machine(MachineRow)
    case window(number: UInt32, MaintenanceWindow)
    case provider(RegistryID, ProviderRow)
    case capability(MinimumCapability)
    case rateLimits(RateLimits)
    /// What was lost with an agent that was marked gone.
    case lostVolume(agent: RegistryID, Resource)
    /// What only the agent knows of.
    case orphan(agent: RegistryID, Resource)
    case legacyQuota(RoleName, LegacyQuotaRow)
    /// What no other row holds of an imported document, as in `ImportRecord`.
    case document(name: [UInt8], json: [UInt8])
}

/// What a row is of: it stays the same while the record changes, and is all that is told of one that is deleted.
public struct RegistryRecordKey: Hashable, Sendable {
    public let table: RegistryTable
    /// As `RegistryTable` says, without the table.
    public let rest: [UInt8]

    /// Nil for a table that this release does not know.
    package init?(_ bytes: [UInt8]) {
        guard let first = bytes.first, let table = RegistryTable(rawValue: first) else { return nil }
        self.table = table
        rest = Array(bytes.dropFirst())
    }

    package var bytes: [UInt8] { [table.rawValue] + rest }
}

extension RegistryRecord {
    /// Nil for an index.
    package init?(_ key: RegistryRecordKey, _ value: [UInt8]) throws(DecodeError) {
        var parts = RegistryKeyParts(key.rest, after: 0)
        switch key.table {
        case .registry: self = .registry(try RegistryRow(value))
        case .agents: self = .agent(RegistryID(unchecked: key.rest), try AgentRow(value))
        case .agentInfo: self = .agentInfo(RegistryID(unchecked: key.rest), try AgentInfo(value))
        case .entries:
            let agent = try parts.id()
            self = .entry(agent: agent, try LedgerEntry(key: parts.takeRest(), value))
        case .holds:
            let (agent, framework) = (try parts.id(), try parts.id())
            self = .hold(agent: agent, framework: framework, id: parts.takeRest(), try HoldRow(value))
        case .operations:
            let agent = try parts.id()
            self = .operation(agent: agent, uuid: parts.takeRest(), try OperationRow(value))
        case .frameworks: self = .framework(RegistryID(unchecked: key.rest), try FrameworkRow(value))
        case .quotas: self = .quota(RoleName(unchecked: key.rest), try QuotaRow(value))
        case .weights: self = .weight(try Weight(value))
        case .consumption:
            let role = RoleName(unchecked: try parts.sized())
            self = .consumption(role, resource: parts.takeRest(), try Scalar(value))
        case .capacity: self = .capacity(resource: key.rest, try Scalar(value))
        case .machines: self = .machine(try MachineRow(value))
        case .windows:
            let number = key.rest.reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            self = .window(number: number, try MaintenanceWindow(value))
        case .providers: self = .provider(RegistryID(unchecked: key.rest), try ProviderRow(value))
        case .capabilities: self = .capability(MinimumCapability(name: key.rest, extra: value))
        case .rateLimits: self = .rateLimits(try RateLimits(value))
        case .lostVolumes: self = .lostVolume(agent: try parts.id(), try Resource(value))
        case .orphans: self = .orphan(agent: try parts.id(), try Resource(value))
        case .legacyQuotas: self = .legacyQuota(RoleName(unchecked: key.rest), try LegacyQuotaRow(value))
        case .documents: self = .document(name: key.rest, json: value)
        case .agentsByState, .agentsByMachine, .reservationsByRole, .volumes, .holdsByFramework, .operationsByFramework,
            .operationNames, .timers:
            return nil
        }
    }
}
