internal import Client
internal import RegistryModel

/// Records that a command reads.
struct RegistryPart: Hashable {
    var table: RegistryTable
    /// What the rest of their keys begins with.
    var prefix: [UInt8] = []

    static func all(_ tables: RegistryTable...) -> [RegistryPart] { tables.map { RegistryPart(table: $0) } }

    /// Of the keys of what an agent has; nil: of all agents.
    static func prefix(of agent: String?) -> [UInt8] { agent.map { id in Array(id.utf8) + [0] } ?? [] }

    /// What the ledger says of an agent, or of all.
    static func ledger(of agent: String?) -> [RegistryPart] {
        let prefix = prefix(of: agent)
        return [RegistryPart(table: .entries, prefix: prefix), RegistryPart(table: .holds, prefix: prefix)]
    }

    static func operations(of agent: String?) -> RegistryPart {
        RegistryPart(table: .operations, prefix: prefix(of: agent))
    }
}

/// Records of the registry by what they are of, each in the order of their keys. Pure, so that what is shown of them
/// can be tested.
struct RegistryBook {
    struct Agent {
        var id: RegistryID
        var row: AgentRow
        /// Nil: it is gone.
        var info: AgentInfo?
    }

    struct Entry {
        var agent: RegistryID
        var entry: LedgerEntry

        var resource: Resource { entry.resource }
    }

    struct Hold {
        var agent: RegistryID
        var framework: RegistryID
        var id: [UInt8]
        var row: HoldRow
    }

    struct Operation {
        var agent: RegistryID
        var uuid: [UInt8]
        var row: OperationRow
    }

    struct Framework {
        var id: RegistryID
        var row: FrameworkRow
    }

    struct AgentResource {
        var agent: RegistryID
        var resource: Resource
    }

    private(set) var registry = RegistryRow()
    private(set) var agents: [Agent] = []
    private(set) var entries: [Entry] = []
    private(set) var holds: [Hold] = []
    private(set) var operations: [Operation] = []
    private(set) var frameworks: [Framework] = []
    private(set) var quotas: [RoleName: QuotaRow] = [:]
    private(set) var weights: [RoleName: Double] = [:]
    private(set) var consumption: [RoleName: Quantities] = [:]
    private(set) var capacity = Quantities.none
    private(set) var machines: [MachineRow] = []
    private(set) var windows: [MaintenanceWindow] = []
    private(set) var capabilities: [MinimumCapability] = []
    /// Volumes that went with agents that were marked gone.
    private(set) var lostVolumes: [AgentResource] = []
    /// What only the agents know of.
    private(set) var orphans: [AgentResource] = []
    private var infos: [RegistryID: AgentInfo] = [:]

    /// - Parameter records: in the order of their keys.
    init(_ records: [RegistryRecord]) {
        for record in records { add(record) }
        for position in agents.indices { agents[position].info = infos[agents[position].id] }
    }

    private mutating func add(_ record: RegistryRecord) {
        switch record {
        case .registry(let row): registry = row
        case .agent(let id, let row): agents.append(Agent(id: id, row: row))
        case .agentInfo(let id, let info): infos[id] = info
        case .entry(let agent, let entry): entries.append(Entry(agent: agent, entry: entry))
        case .hold(let agent, let framework, let id, let row):
            holds.append(Hold(agent: agent, framework: framework, id: id, row: row))
        case .operation(let agent, let uuid, let row):
            operations.append(Operation(agent: agent, uuid: uuid, row: row))
        case .framework(let id, let row): frameworks.append(Framework(id: id, row: row))
        case .quota(let role, let row): quotas[role] = row
        case .legacyQuota(let role, let row): quotas[role] = row.quota
        case .weight(let weight): weights[RoleName(unchecked: weight.role)] = weight.weight
        case .consumption(let role, let resource, let amount):
            consumption[role, default: .none].set(amount, of: resource)
        case .capacity(let resource, let amount): capacity.set(amount, of: resource)
        case .machine(let row): machines.append(row)
        case .window(_, let window): windows.append(window)
        case .provider, .rateLimits, .document: break
        case .capability(let capability): capabilities.append(capability)
        case .lostVolume(let agent, let resource): lostVolumes.append(AgentResource(agent: agent, resource: resource))
        case .orphan(let agent, let resource): orphans.append(AgentResource(agent: agent, resource: resource))
        }
    }

    func agent(_ id: String) throws -> Agent {
        guard let agent = agents.first(where: { $0.id.bytes == Array(id.utf8) }) else {
            throw CommandError("notFound", "there is no agent \(id)")
        }
        return agent
    }

    func framework(_ id: String) throws -> Framework {
        guard let framework = frameworks.first(where: { $0.id.bytes == Array(id.utf8) }) else {
            throw CommandError("notFound", "there is no framework \(id)")
        }
        return framework
    }

    /// The agent has told the master that leads what it has.
    func isAttached(_ agent: Agent) -> Bool {
        agent.row.state == .admitted && agent.row.attachedFence == registry.fence
    }

    // MARK: - What is held

    /// An entry, and what tasks hold of it.
    struct Share {
        var agent: RegistryID
        var resource: Resource
        /// Nil: nothing.
        var held: ResourceValue?
        var holderCount: Int
    }

    /// One for each entry, in order.
    func shares() -> [Share] {
        struct Kind: Hashable {
            var agent: RegistryID
            var bytes: [UInt8]
        }
        var held: [Kind: [ResourceValue]] = [:]
        for hold in holds {
            for resource in hold.row.resources {
                held[Kind(agent: hold.agent, bytes: resource.kindBytes), default: []].append(resource.value)
            }
        }
        var passed: [Kind: Int] = [:]
        return entries.map { entry in
            let resource = entry.resource
            let kind = Kind(agent: entry.agent, bytes: resource.kindBytes)
            let values = held[kind] ?? []
            var share = Share(agent: entry.agent, resource: resource, held: nil, holderCount: values.count)
            if resource.isDivisible {
                share.held = values.dropFirst().reduce(values.first) { sum, value in
                    sum.flatMap { try? $0.adding(value) }
                }
            } else if resource.isShared {
                share.held = values.isEmpty ? nil : resource.value
            } else {
                // Of disks that nothing tells apart each has one holder at most.
                let number = passed[kind, default: 0]
                passed[kind] = number + 1
                share.holderCount = number < values.count ? 1 : 0
                share.held = number < values.count ? resource.value : nil
            }
            return share
        }
    }
}

extension ClusterClient {
    /// Reads one part after the other: each of them is of one revision.
    func registry(_ parts: [RegistryPart], level: ReadLevelOption) async throws -> RegistryBook {
        var records: [RegistryRecord] = []
        for part in parts {
            let prefix = [part.table.rawValue] + part.prefix
            for try await page in client.registryRecords(prefix: prefix, level: level.level) {
                records += page.changes.compactMap(\.record)
            }
        }
        return RegistryBook(records)
    }
}
