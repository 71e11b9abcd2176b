internal import Basics
public import RegistryModel

// What masters, operators and frameworks ask of the registry: functions of a view, so that whoever keeps one by the
// change feed answers them without asking the cluster.

/// An operation that a framework asks about.
public struct OperationReference: Hashable, Sendable {
    /// The framework's name for it.
    public var operationID: RegistryID
    /// Where it should be, for what is said of one that nobody knows.
    public var agentID: RegistryID?

    public init(operationID: RegistryID, agentID: RegistryID? = nil) {
        self.operationID = operationID
        self.agentID = agentID
    }
}

/// What is known of an operation. Its status waits for no acknowledgement.
public struct OperationAnswer: Hashable, Sendable {
    public var operationID: RegistryID
    public var agentID: RegistryID?
    public var status: OperationStatus

    public init(operationID: RegistryID, agentID: RegistryID?, status: OperationStatus) {
        self.operationID = operationID
        self.agentID = agentID
        self.status = status
    }
}

/// What the registry says of a role. Amounts are those of agents that are admitted, and include the roles below it.
public struct RoleView: Hashable, Sendable {
    public var role: RoleName
    public var weight: Double = 1
    /// Neither guarantees nor limits: it has no quota.
    public var quota = QuotaRow()
    /// That have the role and are not over, by id.
    public var frameworks: [RegistryID] = []
    /// What limits are compared with: what is reserved, and what is held besides.
    public var consumption = Quantities.none
    public var reserved = Quantities.none
    /// Reserved or not.
    public var held = Quantities.none

    public init(role: RoleName) { self.role = role }

    /// Names of the resources of which it consumes more than its limit, as after a forced update.
    public var overLimit: [[UInt8]] { quota.exceeded(by: consumption) }
}

extension RegistryView {
    // MARK: - Single records

    /// What there is once; where nothing is stored yet, as it is at first.
    public var registry: RegistryRow {
        guard case .registry(let row)? = record(at: RegistryKey(.registry).bytes) else { return RegistryRow() }
        return row
    }

    public func agent(_ id: RegistryID) -> AgentRow? {
        guard case .agent(_, let row)? = record(at: RegistryKey.agent(id)) else { return nil }
        return row
    }

    /// Nil also of an agent that was marked gone.
    public func agentInfo(_ id: RegistryID) -> AgentInfo? {
        guard case .agentInfo(_, let info)? = record(at: RegistryKey.agentInfo(id)) else { return nil }
        return info
    }

    public func framework(_ id: RegistryID) -> FrameworkRow? {
        guard case .framework(_, let row)? = record(at: RegistryKey.framework(id)) else { return nil }
        return row
    }

    private func record(at key: [UInt8]) -> RegistryRecord? { RegistryRecordKey(key).flatMap { records[$0] } }

    /// Under the fence of the master that recovered last. Else it is recovered, and not yet attached.
    public func isAttached(_ row: AgentRow) -> Bool {
        row.state == .admitted && row.attachedFence == registry.fence
    }

    // MARK: - Operations

    /// Answers a framework that has lost track of its operations. Looks through all records.
    /// - Parameter asked: empty: all that have not ended.
    /// - Returns: in the order asked, else by name. Of an operation that ended long ago, or never was, what can be said
    ///   of its agent: `recovering`, `unreachable`, `goneByOperator`, or `unknown`.
    public func reconcile(_ framework: RegistryID, _ asked: [OperationReference] = []) -> [OperationAnswer] {
        var known: [RegistryID: (agent: RegistryID, row: OperationRow)] = [:]
        for case .operation(let agent, _, let row) in records.values {
            guard row.frameworkID == framework, let name = row.operationID else { continue }
            // A name may be used again once its operation has ended.
            if let other = known[name]?.row, (other.endedAt ?? .max) >= (row.endedAt ?? .max) { continue }
            known[name] = (agent: agent, row: row)
        }
        guard !asked.isEmpty else {
            return known.filter { $0.value.row.isOpen }.sorted { $0.key < $1.key }.map { name, found in
                OperationAnswer(operationID: name, agentID: found.agent, status: found.row.latestStatus)
            }
        }
        return asked.map { reference in
            guard let found = known[reference.operationID] else {
                let status = OperationStatus(state: stateOfUnknown(on: reference.agentID))
                return OperationAnswer(
                    operationID: reference.operationID, agentID: reference.agentID, status: status)
            }
            return OperationAnswer(
                operationID: reference.operationID, agentID: found.agent, status: found.row.latestStatus)
        }
    }

    private func stateOfUnknown(on agentID: RegistryID?) -> OperationState {
        guard let row = agentID.flatMap({ agent($0) }) else { return .unknown }
        switch row.state {
        case .admitted: return isAttached(row) ? .unknown : .recovering
        case .unreachable: return .unreachable
        case .gone: return .goneByOperator
        }
    }

    // MARK: - Pruning

    /// Which agents have been away, or gone, for so long that they may be forgotten (`MasterRegistry.prune`). Looks
    /// through all records.
    /// - Parameters:
    ///   - now: cluster time, ns since 1970.
    ///   - age: those that came into their state longer ago.
    ///   - count: of each state so many may stay; of more, the oldest go.
    /// - Returns: in the order in which they came into their state.
    public func prunePlan(
        now: UInt64, age: Duration = .seconds(14 * 24 * 3_600), count: Int = 102_400
    ) -> (unreachable: [RegistryID], gone: [RegistryID]) {
        let ageMax = UInt64(clamping: Interval(age).nanoseconds)
        func plan(_ state: AgentRow.State) -> [RegistryID] {
            var agents: [(id: RegistryID, row: AgentRow)] = []
            for case .agent(let id, let row) in records.values where row.state == state {
                agents.append((id: id, row: row))
            }
            agents.sort { $0.row.arrival < $1.row.arrival }
            let surplus = agents.count - count
            return agents.enumerated().filter { position, agent in
                position < surplus || now > agent.row.stateSince && now - agent.row.stateSince > ageMax
            }.map(\.element.id)
        }
        return (unreachable: plan(.unreachable), gone: plan(.gone))
    }

    // MARK: - Roles

    /// All roles: one exists while anything names it or a role below it. Looks through all records.
    public func roles() -> [RoleName: RoleView] {
        var roles: [RoleName: RoleView] = [:]
        func update(_ role: RoleName, _ body: (inout RoleView) -> Void) {
            for above in role.ancestors where roles[above] == nil { roles[above] = RoleView(role: above) }
            body(&roles[role, default: RoleView(role: role)])
        }
        // Copies of a shared volume on one agent are one.
        var shared: Set<[UInt8]> = []
        for record in records.values {
            switch record {
            case .quota(let role, let quota): update(role) { $0.quota = quota }
            case .legacyQuota(let role, let stored): update(role) { $0.quota = stored.quota }
            case .weight(let stored): update(RoleName(unchecked: stored.role)) { $0.weight = stored.weight }
            case .consumption(let role, let resource, let amount):
                update(role) { $0.consumption.set(amount, of: resource) }
            case .framework(let id, let row):
                guard !row.state.isOver, let own = try? row.info.checkedRoles() else { continue }
                for role in own { update(role) { $0.frameworks.append(id) } }
            case .entry(let agentID, let entry):
                guard let role = entry.resource.reservationRole else { continue }
                update(role) { _ in }
                guard agent(agentID)?.state == .admitted else { continue }
                for role in [role] + role.ancestors { update(role) { $0.reserved.add(entry.resource.value, of: entry.resource.name) } }
            case .hold(let agentID, _, _, let hold):
                update(hold.role) { _ in }
                guard agent(agentID)?.state == .admitted else { continue }
                for role in [hold.role] + hold.role.ancestors {
                    for resource in hold.resources {
                        let copy = agentID.bytes + [0] + role.bytes + [0] + resource.kindBytes
                        guard !resource.isShared || shared.insert(copy).inserted else { continue }
                        update(role) { $0.held.add(resource.value, of: resource.name) }
                    }
                }
            case .registry, .agent, .agentInfo, .operation, .capacity, .machine, .window, .provider, .capability,
                .rateLimits, .lostVolume, .orphan, .document:
                continue
            }
        }
        for role in Array(roles.keys) { roles[role]?.frameworks.sort() }
        return roles
    }
}

extension OperationRow {
    /// With what was said of it last, if that is what it is at.
    fileprivate var latestStatus: OperationStatus {
        let said = statuses.last { $0.state == latestState }
        return OperationStatus(state: latestState, message: said?.message ?? [])
    }
}
